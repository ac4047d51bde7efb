"""Which spoke serves which target: those that stand on one, and those beside the hub that reach many."""

import pytest

from hub.errors import Conflict, Invalid
from hub.infrastructure import accounts, targets
from hub.infrastructure.accounts import AccountRequest
from hub.infrastructure.endpoint_body import EndpointBody
from hub.infrastructure.reached_targets import NewTarget, create_reached
from hub.states import AccountKind, JobState, SpokeKind, SpokeState, TargetKind
from hub.storage.database import write_tx
from hub.storage.models import Job, Spoke, Target, Task
from wire.keys import BoxKey, SigningKey


def spoke_of(hub, kind, name="beside"):
    sign, box = SigningKey.generate(), BoxKey.generate()
    row = Spoke(
        name=name,
        kind=kind,
        state=SpokeState.TRUSTED,
        approved_at=1,
        sign_pk=sign.verify_key.pk.hex(),
        sign_kid=sign.kid.hex(),
        box_pk=box.public.pk.hex(),
    )
    hub.seals.seal(row)
    row.save(force_insert=True)
    return row


def approve(hub, kind, name="beside"):
    with write_tx():
        row = spoke_of(hub, kind, name)
        return row, targets.create_target(hub.seals, row, [], [])


def revoke(hub, row):
    with write_tx():
        row.state = SpokeState.REVOKED
        row.version += 1
        hub.seals.seal(row)
        row.save()


@pytest.fixture
def keys(hub):
    with write_tx():
        wanted = AccountRequest("keys", AccountKind.PASSWORD, {"user": "deploy"}, {"password": "open sesame"})
        return accounts.create_account(hub.acting(), wanted)


def ssh(hub, name="web-1", **more):
    wanted = EndpointBody(host=f"{name}.example.com", account="keys", **more)
    with write_tx():
        return create_reached(hub.acting(), NewTarget(TargetKind.SSH, name, ["web"], [], wanted))


def test_a_polling_spoke_stands_on_its_target_and_the_hub_run_one_on_the_hub(hub):
    _, polling = approve(hub, SpokeKind.POLLING, "web-9")
    _, local = approve(hub, SpokeKind.LOCAL, "whatever")
    assert (polling.name, polling.kind, local.name, local.kind) == ("web-9", "polling", "hub", "local")


@pytest.mark.parametrize("kind", [SpokeKind.SSH, SpokeKind.RELAY])
def test_a_spoke_that_reaches_others_stands_on_none(hub, kind):
    _, target = approve(hub, kind)
    assert target is None
    assert Target.select().count() == 0


def test_the_ssh_spoke_serves_every_ssh_target_and_its_successor_takes_them_up(hub, keys):
    early = ssh(hub, "web-1")
    assert early.spoke is None
    first, _ = approve(hub, SpokeKind.SSH)
    late = ssh(hub, "web-2")
    assert {Target.get_by_id(early.id).spoke, late.spoke} == {first.id}
    second, _ = approve(hub, SpokeKind.SSH, "another")
    assert Target.get_by_id(early.id).spoke == first.id
    revoke(hub, first)
    revoke(hub, second)
    third, _ = approve(hub, SpokeKind.SSH, "third")
    for row in Target.select():
        assert row.spoke == third.id
        assert hub.seals.holds(row)


def test_a_reached_target_is_deleted_unless_work_is_under_way(hub, keys):
    approve(hub, SpokeKind.SSH)
    row = ssh(hub)
    with write_tx():
        task = Task.create(kind="script-run", title="x")
        job = Job.create(task=task.id, step_index=0, step="x", target=row.id, state=JobState.RUNNING)
    with pytest.raises(Conflict, match="under way"), write_tx():
        targets.delete_target(hub.acting(), row.id)
    with write_tx():
        Job.update(state=JobState.SUCCEEDED).where(Job.id == job.id).execute()
        targets.delete_target(hub.acting(), row.id)
    assert Target.select().count() == 0


def test_a_program_is_named_by_its_whole_path(hub, keys):
    with pytest.raises(Invalid, match="absolute path"):
        ssh(hub, python="~/bin/python3")
    assert ssh(hub, home="~/deploy").endpoint["home"] == "~/deploy"

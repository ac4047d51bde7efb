"""Environments and targets: names, places, health."""

import pytest

from hub.errors import Conflict, Invalid, NotFound, SealBroken
from hub.infrastructure import environments, targets
from hub.infrastructure.display_names import fault_of, shown
from hub.states import Health, TaskKind, TaskState
from hub.storage.database import write_tx
from hub.storage.models import Environment, Target, TargetEnvironment, Task


@pytest.fixture
def target(hub) -> Target:
    with write_tx():
        row = Target(name="web-1", roles=["web"])
        hub.seals.seal(row)
        row.save(force_insert=True)
    return row


def environment(hub, name: str) -> Environment:
    with write_tx():
        return environments.create_environment(hub.acting(), name)


def test_environments_come_one_after_the_other(hub):
    assert [environment(hub, name).position for name in ("Development", "Production")] == [1, 2]


def test_names_that_differ_in_case_alone_are_one(hub):
    environment(hub, "Production")
    with pytest.raises(Conflict, match="'Production'"):
        environment(hub, "PRODUCTION")


def test_an_environment_changes_and_counts_its_versions(hub):
    row = environment(hub, "Test")
    with write_tx():
        row = environments.update_environment(hub.acting(), row.id, name="Staging", description="before the real one")
    assert (row.name, row.description, row.version) == ("Staging", "before the real one", 2)


def test_an_environment_with_targets_stays(hub, target):
    row = environment(hub, "Production")
    with write_tx():
        targets.update_target(hub.acting(), target.id, environments=[row.id])
    with pytest.raises(Conflict, match="'web-1'"), write_tx():
        environments.delete_environment(hub.acting(), row.id)
    with write_tx():
        targets.update_target(hub.acting(), target.id, environments=[])
        environments.delete_environment(hub.acting(), row.id)
    assert Environment.select().count() == 0
    with pytest.raises(NotFound), write_tx():
        environments.delete_environment(hub.acting(), row.id)


def test_an_environment_goes_with_its_dry_runs_once_they_are_over(hub):
    row = environment(hub, "Production")
    with write_tx():
        shown = Task.create(kind=TaskKind.PREVIEW, title="t", environment=row.id, state=TaskState.RUNNING)
    with pytest.raises(Conflict, match="not over"), write_tx():
        environments.delete_environment(hub.acting(), row.id)
    with write_tx():
        Task.update(state=TaskState.SUCCEEDED).where(Task.id == shown.id).execute()
        environments.delete_environment(hub.acting(), row.id)
    assert Environment.select().count() == Task.select().count() == 0


def test_a_target_changes_under_its_seal(hub, target):
    place = environment(hub, "Production")
    with write_tx():
        changes = {"name": "web-2", "roles": ["db", "web", "db"], "environments": [place.id]}
        row = targets.update_target(hub.acting(), target.id, **changes)
    assert (row.name, row.roles, row.version) == ("web-2", ["db", "web"], 2)
    assert TargetEnvironment.get().environment == place.id
    hub.seals.check(Target.get())


@pytest.mark.parametrize("change", [targets.disable_target, targets.enable_target, targets.update_target])
def test_a_target_that_was_changed_outside_the_hub_is_not_made_good_by_a_change(hub, target, change):
    Target.update(endpoint={"host": "attacker.example", "host_key": "theirs"}).where(Target.id == target.id).execute()
    with pytest.raises(SealBroken), write_tx():
        change(hub.acting(), target.id)
    assert not hub.seals.holds(Target.get())


def test_a_target_is_disabled_with_a_reason_and_enabled_again(hub, target):
    with write_tx():
        row = targets.disable_target(hub.acting(), target.id, "being repaired")
    assert (row.disabled_at is not None, row.disabled_reason) == (True, "being repaired")
    with write_tx():
        row = targets.enable_target(hub.acting(), target.id)
    assert (row.disabled_at, row.disabled_reason) == (None, "")
    hub.seals.check(Target.get())


@pytest.mark.parametrize(
    "changes",
    [{"roles": ["a/b"]}, {"roles": ["r"] * 1 + [str(n) for n in range(60)]}, {"environments": ["f" * 32]}],
    ids=str,
)
def test_impossible_changes_leave_the_target_as_it_was(hub, target, changes):
    with pytest.raises(Invalid), write_tx():
        targets.update_target(hub.acting(), target.id, **changes)
    assert Target.get().version == 1


def test_health_has_a_since_that_only_a_change_moves(hub, target):
    assert targets.set_health(target, Health.HEALTHY, "", 1_000)
    assert not targets.set_health(target, Health.HEALTHY, "", 2_000)
    assert targets.set_health(target, Health.HEALTHY, "slow", 3_000)
    assert Target.get().health_since == 1_000
    assert targets.set_health(target, Health.UNAVAILABLE, "silent", 4_000)
    assert Target.get().health_since == 4_000


@pytest.mark.parametrize("name", ["web-1", "Büro 3", "{{7*7}}", "a b (old)", "名前"])
def test_text_for_people_is_a_name(name):
    assert fault_of(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../x",
        "a/b",
        "C:\\x",
        "%2e%2e",
        "a" * 300,
        "a\u202eb",
        "a\x00b",
        "a\nb",
        "-rf",
        " a",
        "a ",
        ".a",
        "f" * 32,
        "a#b",
        "\ud800",
    ],
    ids=ascii,
)
def test_text_that_could_be_more_than_text_is_no_name(name):
    assert fault_of(name) is not None


def test_foreign_text_is_shown_escaped_and_cut():
    assert shown("a\x1b[2Jb\u202ec") == "a\\x1b[2Jb\\u202ec"
    assert len(shown("\n" * 1_000)) == 200

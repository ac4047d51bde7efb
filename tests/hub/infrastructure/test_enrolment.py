"""From a join code to a trusted spoke, and out again."""

import pytest
from peewee import OperationalError

from hub.errors import Conflict, Invalid, NotFound, SealBroken
from hub.infrastructure.enrolment import EnrolmentParts, Enrolments
from hub.infrastructure.join_codes import revoke_join_code
from hub.infrastructure.spoke_keys import SpokeDirectory
from hub.infrastructure.spokes import approve_spoke, revoke_spoke, thumbprint_of
from hub.infrastructure.targets import delete_target
from hub.states import Approval, EnrolmentState, Health, SpokeState
from hub.storage.database import write_tx
from hub.storage.models import Enrolment, Environment, GatewayInbox, JoinToken, Spoke, Target, TargetEnvironment
from tests.fakes.enrolling import ADDRESS, Machine
from wire.errors import Code, Refused
from wire.keys import thumbprint
from wire.roles import Role


def test_a_machine_enrols_and_waits_for_approval(enrolling, hub):
    machine = Machine(hub)
    frame = machine.frame(enrolling.code(roles=("web",)))
    enrolling.take(frame)
    enrolling.rollout.sweep()
    spoke = Spoke.get()
    assert (spoke.state, spoke.name) == (SpokeState.PENDING, "web-1")
    assert thumbprint_of(spoke) == thumbprint(machine.signing.verify_key.pk)
    assert Enrolment.get_by_id(frame.sha256).state == EnrolmentState.WAITING
    assert Target.select().count() == 0
    assert enrolling.accounts.calls == []
    assert GatewayInbox.select().count() == 0


def test_approval_makes_the_target_the_account_and_the_answer(enrolling, hub):
    machine = Machine(hub)
    environment = Environment.create(name="Production")
    frame = machine.frame(enrolling.code(roles=("web", "db"), environments=(environment.id,)), roles=("web",))
    enrolling.take(frame)
    with write_tx():
        spoke, _ = approve_spoke(hub.acting(), Spoke.get().id)
    enrolling.rollout.sweep()
    answer = Enrolment.get_by_id(frame.sha256)
    told = machine.opened(answer.answer, frame)
    assert (told.spoke_id, told.gateway, told.broker.user) == (spoke.id, ADDRESS, f"spoke-{spoke.id}")
    assert enrolling.accounts.calls == [("ensure", spoke.id)]
    assert enrolling.welcomed == [spoke.id]
    target = Target.get()
    assert (target.name, target.roles, target.spoke) == ("web-1", ["web"], spoke.id)
    assert TargetEnvironment.get().environment == environment.id
    hub.seals.check(target)
    hub.seals.check(Spoke.get())


@pytest.mark.parametrize(
    ("role", "kind", "serves"),
    [
        ("spoke", "polling", ["web-1"]),
        ("spoke", "listening", ["web-1"]),
        ("ssh", "ssh", []),
        ("local", "local", ["hub"]),
        ("relay", "relay", []),
    ],
)
def test_a_spoke_is_of_the_kind_that_it_says_where_its_code_is_for_that(enrolling, hub, role, kind, serves):
    machine = Machine(hub, kind=kind)
    enrolling.take(machine.frame(enrolling.code(role=role, approve=Approval.AUTO)))
    assert (Spoke.get().kind, Spoke.get().state) == (kind, SpokeState.TRUSTED)
    assert [row.name for row in Target.select()] == serves


def test_a_code_with_auto_approve_trusts_who_brings_it(enrolling, hub):
    machine = Machine(hub)
    frame = machine.frame(enrolling.code(approve=Approval.AUTO))
    enrolling.take(frame)
    enrolling.rollout.sweep()
    assert Spoke.get().state == SpokeState.TRUSTED
    assert machine.opened(Enrolment.get_by_id(frame.sha256).answer, frame).hub_id == hub.hub_id


def test_the_same_frame_twice_is_one_spoke(enrolling, hub):
    frame = Machine(hub).frame(enrolling.code())
    enrolling.take(frame)
    enrolling.take(frame)
    assert Spoke.select().count() == 1
    assert enrolling.refusals() == []


def test_a_database_that_is_away_for_a_moment_costs_nobody_his_code(enrolling, hub):
    frame = Machine(hub).frame(enrolling.code())
    locked = [OperationalError("database is locked")]

    def boxes():
        if locked:
            raise locked.pop()
        return hub.boxes

    busy = Enrolments(EnrolmentParts(hub.engine, hub.seals, boxes, hub.hub_id, lambda: enrolling.now_ms))
    enrolling.arrive(frame)
    with pytest.raises(OperationalError):
        busy.sweep()
    assert enrolling.refusals() == []
    busy.sweep()
    assert Spoke.get().name == "web-1"


def test_the_answer_waits_for_a_broker_that_is_away(enrolling, hub):
    machine = Machine(hub)
    frame = machine.frame(enrolling.code(approve=Approval.AUTO))
    enrolling.take(frame)
    enrolling.accounts.away = 1
    assert enrolling.rollout.sweep() == 0
    assert enrolling.rollout.sweep() == 0
    enrolling.seconds += 60
    assert enrolling.rollout.sweep() == 1
    assert Enrolment.get_by_id(frame.sha256).state == EnrolmentState.ANSWERED


def test_revocation_ends_trust_first_then_the_account_then_the_jobs(enrolling, hub):
    machine = Machine(hub)
    enrolling.take(machine.frame(enrolling.code(approve=Approval.AUTO)))
    enrolling.rollout.sweep()
    spoke = Spoke.get()
    directory = SpokeDirectory(hub.seals)
    assert directory.key(machine.signing.kid, Role.SPOKE_SIGN, 0).owner == spoke.id
    with write_tx():
        revoke_spoke(hub.acting(), spoke.id, "stolen")
    with pytest.raises(Refused) as refused:
        directory.key(machine.signing.kid, Role.SPOKE_SIGN, 0)
    assert refused.value.code is Code.ENV_KEY
    assert enrolling.failed_jobs == []
    enrolling.rollout.sweep()
    assert enrolling.accounts.calls[-1] == ("remove", spoke.id)
    assert enrolling.failed_jobs == [spoke.id]
    assert Target.get().health == Health.UNAVAILABLE
    enrolling.rollout.sweep()
    assert len(enrolling.accounts.calls) == 2
    hub.seals.check(Spoke.get())


def test_a_spoke_revoked_before_its_answer_gets_none(enrolling, hub):
    frame = Machine(hub).frame(enrolling.code(approve=Approval.AUTO))
    enrolling.take(frame)
    with write_tx():
        revoke_spoke(hub.acting(), Spoke.get().id)
    enrolling.rollout.sweep()
    assert Enrolment.get_by_id(frame.sha256).answer is None


def test_a_machine_that_lost_its_key_takes_up_its_target_after_the_old_spoke_is_revoked(enrolling, hub):
    enrolling.take(Machine(hub).frame(enrolling.code(approve=Approval.AUTO)))
    old = Target.get()
    again = Machine(hub)
    enrolling.take(again.frame(enrolling.code(approve=Approval.AUTO)))
    assert enrolling.refusals() == ["JOIN_SCOPE"]
    with write_tx():
        revoke_spoke(hub.acting(), Spoke.get().id)
    enrolling.take(again.frame(enrolling.code(approve=Approval.AUTO)))
    assert Target.get().id == old.id
    assert Target.get().spoke == Spoke.get(Spoke.state == SpokeState.TRUSTED).id


def test_a_pending_spoke_whose_name_is_served_is_not_approved(enrolling, hub):
    enrolling.take(Machine(hub).frame(enrolling.code(approve=Approval.AUTO)))
    enrolling.take(Machine(hub).frame(enrolling.code()))
    pending = Spoke.get(Spoke.state == SpokeState.PENDING)
    with pytest.raises(Conflict, match="another spoke"), write_tx():
        approve_spoke(hub.acting(), pending.id)
    assert Spoke.get_by_id(pending.id).state == SpokeState.PENDING


def test_a_spoke_row_changed_by_sql_is_not_approved(enrolling, hub):
    enrolling.take(Machine(hub).frame(enrolling.code()))
    stranger = Machine(hub)
    Spoke.update(sign_pk=stranger.signing.verify_key.pk.hex()).execute()
    with pytest.raises(SealBroken), write_tx():
        approve_spoke(hub.acting(), Spoke.get().id)


def test_a_state_set_to_trusted_by_sql_gives_no_key(enrolling, hub):
    machine = Machine(hub)
    enrolling.take(machine.frame(enrolling.code()))
    Spoke.update(state=SpokeState.TRUSTED).execute()
    with pytest.raises(Refused) as refused:
        SpokeDirectory(hub.seals).key(machine.signing.kid, Role.SPOKE_SIGN, 0)
    assert refused.value.code is Code.ENV_KEY
    enrolling.rollout.sweep()
    assert enrolling.accounts.calls == []


def test_a_target_is_deleted_only_when_its_spoke_is_not_trusted(enrolling, hub):
    enrolling.take(Machine(hub).frame(enrolling.code(approve=Approval.AUTO)))
    with pytest.raises(Conflict, match="revoke it first"), write_tx():
        delete_target(hub.acting(), Target.get().id)
    with write_tx():
        revoke_spoke(hub.acting(), Spoke.get().id)
        delete_target(hub.acting(), Target.get().id)
    assert Target.select().count() == 0


def test_a_revoked_code_is_dead_and_a_used_one_cannot_be_revoked(enrolling, hub):
    code = enrolling.code()
    with write_tx():
        revoke_join_code(hub.acting(), code.row.id)
    enrolling.take(Machine(hub).frame(code))
    assert enrolling.refusals() == ["JOIN_EXPIRED"]
    used = enrolling.code()
    enrolling.take(Machine(hub).frame(used))
    with pytest.raises(Conflict, match="has been used"), write_tx():
        revoke_join_code(hub.acting(), used.row.id)
    with pytest.raises(NotFound), write_tx():
        revoke_join_code(hub.acting(), "0" * 16)


@pytest.mark.parametrize(
    "request_",
    [{"ttl_s": 59}, {"ttl_s": 24 * 3600 + 1}, {"role": "root"}, {"roles": ("../x",)}, {"environments": ("f" * 32,)}],
    ids=str,
)
def test_a_join_code_of_impossible_terms_is_refused(enrolling, request_):
    with pytest.raises(Invalid):
        enrolling.code(**request_)
    assert JoinToken.select().count() == 0


def test_refusals_are_forgotten_after_a_day(enrolling, hub):
    code = enrolling.code()
    enrolling.take(Machine(hub).frame(code, token_secret="0" * 32))
    assert enrolling.enrolments.forget_refused() == 0
    enrolling.now_ms += 25 * 3600 * 1000
    assert enrolling.enrolments.forget_refused() == 1

"""Listening spokes and relays: how they come in, whom the fleet names, and how both are told to go."""

import dataclasses

import pytest

from hub.errors import Conflict, Invalid
from hub.infrastructure import listening_targets
from hub.infrastructure.fleet import VALID_S, Carriers, Fleet, FleetParts
from hub.infrastructure.listening import expect, move
from hub.infrastructure.spoke_keys import SpokeDirectory
from hub.infrastructure.spokes import approve_spoke, revoke_spoke, thumbprint_of
from hub.states import Approval, EnrolmentState, SpokeKind, SpokeState, TargetKind
from hub.storage.database import write_tx
from hub.storage.hub_keys import signing_key
from hub.storage.hub_trust import trust_chain
from hub.storage.models import Enrolment, FleetFrame, Introduction, JoinToken, Spoke, Target
from tests.fakes.enrolling import ADDRESS, Machine
from wire.documents import FleetDocument
from wire.errors import Code, Refused
from wire.keys import thumbprint
from wire.roles import Role

NO_TOKEN = {"token_id": "0" * 16, "token_secret": "0" * 32}


@pytest.fixture
def fleet(hub, enrolling) -> Fleet:
    parts = FleetParts(
        hub.seals, lambda: signing_key(hub.engine, Role.HUB_COMMAND), hub.hub_id, ADDRESS, lambda: enrolling.now_ms
    )
    return Fleet(parts)


def document(hub) -> FleetDocument:
    """What the gateway would hand out, as a relay reads it."""
    row = FleetFrame.get()
    return FleetDocument.open(bytes(row.frame), hub.trust.directory(), row.issued_at // 1000, hub.hub_id)


def named(hub) -> list[tuple[str, str]]:
    return [(spoke.id, spoke.address) for spoke in document(hub).spokes]


def enrol(enrolling, hub, kind: str, name: str = "web-1") -> tuple[Machine, Spoke]:
    machine = Machine(hub, name, kind)
    role = "relay" if kind == "relay" else "spoke"
    frame = machine.frame(enrolling.code(role=role, approve=Approval.AUTO))
    enrolling.take(frame)
    enrolling.rollout.sweep()
    assert enrolling.refusals() == []
    return machine, Spoke.get(Spoke.sign_kid == machine.signing.kid.hex())


def introduce(hub, machine: Machine, **changes) -> Introduction:
    with write_tx():
        target = Target(
            name=machine.name,
            kind=TargetKind.LISTENING,
            roles=["web"],
            endpoint={"address": machine.address, "thumbprint": thumbprint(machine.signing.verify_key.pk)} | changes,
        )
        hub.seals.seal(target)
        target.save(force_insert=True)
        return expect(hub.acting(), target)


def introduced_frame(enrolling, machine: Machine):
    return machine.frame(enrolling.code(), **NO_TOKEN, address="")


def test_a_listening_spoke_gets_a_mailbox_of_its_fleet_and_no_account(enrolling, hub, fleet):
    machine = Machine(hub, kind="listening")
    frame = machine.frame(enrolling.code(approve=Approval.AUTO))
    enrolling.take(frame)
    enrolling.rollout.sweep()
    told = machine.opened(Enrolment.get_by_id(frame.sha256).answer, frame)
    assert dataclasses.astuple(told.broker) == ("",) * 5
    spoke = Spoke.get()
    assert (spoke.broker_user, spoke.broker_password_sealed, spoke.at_broker) == ("", None, True)
    assert enrolling.accounts.calls == [("ensure", spoke.id)]
    assert enrolling.delivered == []
    fleet.sweep()
    (entry,) = document(hub).spokes
    assert (entry.id, entry.address, entry.spki) == (spoke.id, "web-1.example:10933", machine.tls_spki)
    assert entry.thumbprint == thumbprint_of(spoke)


def test_a_relay_gets_an_account_and_its_pin_stands_in_the_trust_document(enrolling, hub):
    before = trust_chain().version
    machine, relay = enrol(enrolling, hub, "relay")
    assert relay.broker_user == f"relay-{relay.id}"
    assert trust_chain().document.pins("relay") == (machine.tls_spki,)
    assert trust_chain().version == before + 1
    assert Target.select().count() == 0


def test_the_pin_of_a_pending_relay_stands_nowhere_until_somebody_approves_it(enrolling, hub):
    machine = Machine(hub, "relay-1", "relay")
    enrolling.take(machine.frame(enrolling.code(role="relay")))
    assert trust_chain().document.pins("relay") == ()
    with write_tx():
        _, notice = approve_spoke(hub.acting(), Spoke.get().id)
    assert notice == ""
    assert trust_chain().document.pins("relay") == (machine.tls_spki,)


def test_a_revoked_relay_has_no_pin_no_account_and_carries_for_nobody(enrolling, hub):
    _, relay = enrol(enrolling, hub, "relay", "relay-1")
    _, spoke = enrol(enrolling, hub, "listening")
    carriers = Carriers(hub.seals)
    assert carriers.carries(relay.id, spoke.id)
    with write_tx():
        _, notice = revoke_spoke(hub.acting(), relay.id)
        assert notice == "no relay is left: 1 listening spokes are not reached before one is approved"
        # In the very transaction: trust goes first, connections and account after.
        assert trust_chain().document.pins("relay") == ()
    assert not carriers.carries(relay.id, spoke.id)
    enrolling.rollout.sweep()
    assert enrolling.accounts.calls[-1] == ("remove", relay.id)
    assert not Spoke.get_by_id(relay.id).at_broker


def test_a_revoked_spoke_that_somebody_trusts_again_by_sql_meanwhile_is_not_made_good(enrolling, hub, monkeypatch):
    _, spoke = enrol(enrolling, hub, "listening")
    with write_tx():
        revoke_spoke(hub.acting(), spoke.id)
    monkeypatch.setattr(
        enrolling.accounts, "remove_tenant", lambda _: Spoke.update(state=SpokeState.TRUSTED).execute(), raising=True
    )
    enrolling.rollout.sweep()
    assert not Spoke.get().at_broker
    assert not hub.seals.holds(Spoke.get())


def test_a_spoke_that_was_changed_outside_the_hub_can_be_revoked_all_the_same(enrolling, hub):
    _, spoke = enrol(enrolling, hub, "listening")
    Spoke.update(address="attacker.example:10933").execute()
    with write_tx():
        revoke_spoke(hub.acting(), spoke.id)
    enrolling.rollout.sweep()
    assert (Spoke.get().state, Spoke.get().at_broker) == (SpokeState.REVOKED, False)


@pytest.mark.parametrize(
    "typed", [lambda print_: print_.replace("-", ""), lambda print_: f" {print_[:30]}\n{print_[30:]} "]
)
def test_a_spoke_is_let_in_however_its_thumbprint_was_typed(enrolling, hub, typed):
    machine = Machine(hub, kind="listening")
    text = typed(thumbprint(machine.signing.verify_key.pk))
    with write_tx():
        listening_targets.introduce(
            hub.acting(), listening_targets.Introduced("web-1", "web-1.example:10933", text, ["web"], [])
        )
    enrolling.take(introduced_frame(enrolling, machine))
    assert enrolling.refusals() == []
    assert Spoke.get().state == SpokeState.TRUSTED


@pytest.mark.parametrize("address", ["127.0.0.1:5673", "localhost:22", "169.254.169.254:80", "[::1]:8443"])
def test_t165_who_enrols_with_a_code_does_not_send_relays_to_the_hub_s_own_machine(enrolling, hub, address):
    machine = Machine(hub, kind="listening")
    enrolling.take(machine.frame(enrolling.code(approve=Approval.AUTO), address=address))
    assert enrolling.refusals() == ["JOIN_SCOPE"]
    assert Spoke.select().count() == 0


def test_a_pending_relay_that_is_refused_changes_no_trust_document(enrolling, hub):
    enrolling.take(Machine(hub, "relay-1", "relay").frame(enrolling.code(role="relay")))
    before = trust_chain().version
    with write_tx():
        revoke_spoke(hub.acting(), Spoke.get().id)
    assert trust_chain().version == before


def test_a_relay_s_signing_key_signs_nothing_for_the_hub(enrolling, hub):
    machine, _ = enrol(enrolling, hub, "relay")
    with pytest.raises(Refused) as refused:
        SpokeDirectory(hub.seals).key(machine.signing.kid, Role.SPOKE_SIGN, 0)
    assert refused.value.code is Code.ENV_KEY


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("listening", {"address": ""}),
        ("listening", {"tls_spki": ""}),
        ("polling", {"address": "web-1:10933"}),
        ("polling", {"tls_spki": "0" * 64}),
        ("relay", {"tls_spki": ""}),
    ],
    ids=str,
)
def test_an_enrolment_says_what_its_kind_needs_and_nothing_else(enrolling, hub, kind, changes):
    machine = Machine(hub, kind=kind)
    enrolling.take(machine.frame(enrolling.code(role="relay" if kind == "relay" else "spoke"), **changes))
    assert enrolling.refusals() == ["JOIN_SCOPE"]
    assert Spoke.select().count() == 0
    assert JoinToken.get().used_at is None


def test_the_fleet_is_made_anew_when_somebody_comes_moves_or_goes_and_not_otherwise(enrolling, hub, fleet):
    assert fleet.sweep()
    assert named(hub) == []
    _, spoke = enrol(enrolling, hub, "listening")
    assert fleet.sweep()
    assert not fleet.sweep()
    with write_tx():
        move(hub.acting(), spoke.id, "10.0.0.9:10933", allow_inner=False)
    assert fleet.sweep()
    assert named(hub) == [(spoke.id, "10.0.0.9:10933")]
    with write_tx():
        revoke_spoke(hub.acting(), spoke.id)
    assert fleet.sweep()
    assert named(hub) == []


def test_the_fleet_is_renewed_long_before_it_ends(enrolling, hub, fleet):
    fleet.sweep()
    first = document(hub)
    enrolling.now_ms += VALID_S * 400
    assert not fleet.sweep()
    enrolling.now_ms += VALID_S * 200
    assert fleet.sweep()
    assert document(hub).expires > first.expires
    assert first.is_current(enrolling.now_ms // 1000)


def test_a_row_that_was_changed_in_the_database_stands_in_no_fleet(enrolling, hub, fleet):
    _, spoke = enrol(enrolling, hub, "listening")
    Spoke.update(address="thief.example:1").where(Spoke.id == spoke.id).execute()
    fleet.sweep()
    assert named(hub) == []


def test_who_is_not_dialled_cannot_be_moved(enrolling, hub):
    _, polling = enrol(enrolling, hub, "polling")
    _, listening = enrol(enrolling, hub, "listening", "web-2")
    with write_tx():
        with pytest.raises(Conflict, match="nobody dials it"):
            move(hub.acting(), polling.id, "elsewhere:1", allow_inner=False)
        for address in ("", "-rf:1", "elsewhere:0", "elsewhere:x", "127.0.0.1:1", "169.254.169.254:80"):
            with pytest.raises(Invalid):
                move(hub.acting(), listening.id, address, allow_inner=False)
        assert move(hub.acting(), listening.id, "127.0.0.1:1", allow_inner=True).address == "127.0.0.1:1"


def test_one_that_was_introduced_is_dialled_at_once_and_let_in_by_its_thumbprint(enrolling, hub, fleet):
    machine = Machine(hub, kind="listening")
    expected = introduce(hub, machine)
    fleet.sweep()
    assert named(hub) == [(expected.id, machine.address)]
    assert document(hub).spokes[0].spki == ""
    frame = introduced_frame(enrolling, machine)
    enrolling.take(frame)
    spoke = Spoke.get()
    assert (spoke.id, spoke.state, spoke.kind) == (expected.id, SpokeState.TRUSTED, SpokeKind.LISTENING)
    assert spoke.approved_by == hub.acting().caller.user_id
    assert Target.get().spoke == spoke.id
    assert Target.get().roles == ["web"]
    enrolling.rollout.sweep()
    ((to, answer),) = enrolling.delivered
    assert to == spoke.id
    assert machine.opened(answer, frame).spoke_id == expected.id
    fleet.sweep()
    assert named(hub) == [(expected.id, machine.address)]
    assert document(hub).spokes[0].spki == machine.tls_spki


def test_the_same_enrolment_again_is_answered_again(enrolling, hub):
    machine = Machine(hub, kind="listening")
    introduce(hub, machine)
    frame = introduced_frame(enrolling, machine)
    for times in (1, 2):
        enrolling.take(frame)
        enrolling.rollout.sweep()
        assert len(enrolling.delivered) == times
    assert Enrolment.get_by_id(frame.sha256).state == EnrolmentState.ANSWERED
    assert enrolling.refusals() == []


def test_a_key_that_nobody_introduced_is_not_let_in_without_a_token(enrolling, hub):
    introduce(hub, Machine(hub, kind="listening"))
    stranger = Machine(hub, kind="listening")
    enrolling.take(introduced_frame(enrolling, stranger))
    assert enrolling.refusals() == ["JOIN_BAD"]
    assert Spoke.select().count() == 0


def test_one_that_was_introduced_does_not_come_in_as_another_kind(enrolling, hub):
    machine = Machine(hub, kind="listening")
    introduce(hub, machine)
    enrolling.take(machine.frame(enrolling.code(), **NO_TOKEN, kind="relay", address=""))
    assert enrolling.refusals() == ["JOIN_SCOPE"]


def test_an_introduction_that_was_written_into_the_database_lets_nobody_in(enrolling, hub, fleet):
    machine, thief = Machine(hub, kind="listening"), Machine(hub, kind="listening")
    introduce(hub, machine)
    Introduction.update(thumbprint=thumbprint(thief.signing.verify_key.pk)).execute()
    enrolling.take(introduced_frame(enrolling, thief))
    assert enrolling.refusals() == ["JOIN_BAD"]
    fleet.sweep()
    assert named(hub) == []


def test_who_is_expected_at_a_target_that_was_removed_is_expected_no_more(enrolling, hub, fleet):
    machine = Machine(hub, kind="listening")
    introduce(hub, machine)
    Target.get().delete_instance()
    fleet.sweep()
    assert named(hub) == []
    enrolling.take(introduced_frame(enrolling, machine))
    assert enrolling.refusals() == ["JOIN_BAD"]


def test_a_relay_carries_for_the_listening_spokes_of_its_fleet_alone(enrolling, hub):
    carriers = Carriers(hub.seals)
    _, relay = enrol(enrolling, hub, "relay", "relay-1")
    _, polling = enrol(enrolling, hub, "polling", "web-2")
    _, listening = enrol(enrolling, hub, "listening")
    expected = introduce(hub, Machine(hub, "web-3", "listening"))
    assert [carriers.carries(relay.id, spoke.id) for spoke in (listening, expected, polling, relay)] == [
        True, True, False, False,
    ]  # fmt: skip
    assert not carriers.carries(polling.id, listening.id)
    elsewhere = Spoke.get_by_id(listening.id)
    elsewhere.fleet = "north"
    with write_tx():
        hub.seals.seal(elsewhere)
        elsewhere.save()
    assert not carriers.carries(relay.id, listening.id)

"""A listening spoke's words come by a relay: they count by the spoke's own key, and the relay's words count for nothing."""

import json
import time

import pytest

from hub.acting import Itself
from hub.infrastructure.listening import expect
from hub.orchestrator import task_log
from hub.states import Health, JobState, OutboxKind, SpokeState, TargetKind, TaskState
from hub.storage.database import write_tx
from hub.storage.models import (
    GatewayInbox,
    Job,
    Outbox,
    Quarantine,
    RelayHint,
    Spoke,
    SpokeSession,
    Target,
    Task,
    now_ms,
)
from tests.fakes.memory import MemoryConnection
from tests.hub.orchestrator.rig import Rig, Run, until
from wire.connection import Outgoing
from wire.envelope import MessageType
from wire.exchange import seal_enrol, seal_to_spoke
from wire.keys import BoxKey, SigningKey, new_id, thumbprint
from wire.messages import Ack, AckState, Command, Enrol, Limits, Op, Platform
from wire.session import SpokeFacts
from wire.topology import (
    DEFAULT_FLEET,
    EVENTS,
    HUB_BEATS,
    EventKind,
    fleet_queue,
    listening_tenant,
    relay_key,
    relay_user,
    spoke_user,
)


@pytest.fixture
def rig(installed_hub):
    made = Rig(installed_hub)
    yield made
    made.close()


@pytest.fixture
def relay(rig) -> str:
    return rig.relay()


def codes() -> set[str]:
    return {row.code for row in Quarantine.select()}


def refused(rig, count: int, code: str) -> None:
    until(lambda: rig.engine.quarantine.total >= count)
    until(lambda: codes() == {code})


def says(rig, relay: str, kind: EventKind, spoke: str, body: bytes) -> None:
    """The relay's own user publishes whatever it likes."""
    MemoryConnection(rig.broker, relay_user(relay)).publish(
        Outgoing(EVENTS, relay_key(relay, kind, spoke), body)
    ).result()


def hints(rig, relay: str, spoke: str, **said: object) -> None:
    says(rig, relay, EventKind.HINT, spoke, json.dumps(said).encode())


def test_a_listening_spoke_is_commanded_and_heard_as_any_other(rig, relay):
    web = rig.spoke("web-01", lambda _: Run(("deployed\n",)), relay=relay).start()
    rig.engine.start()
    task = rig.run("true", web)
    rig.ended(task)
    assert [line.text for line in task_log.read(rig.hub.vault, task.id, target="web-01")[0]] == ["deployed"]
    assert rig.engine.quarantine.total == 0


def test_a_mailbox_of_a_listening_spoke_that_the_broker_has_lost_is_made_again(rig, relay):
    web = rig.spoke("web-01", relay=relay)
    rig.engine.start()
    rig.broker.remove_queue(fleet_queue(DEFAULT_FLEET, web.id))
    web.hello()
    until(lambda: SpokeSession.select().exists())
    rig.engine.spoke_trusted(web.id)
    web.start()
    rig.ended(rig.run("true", web))


def test_t051_what_one_spoke_said_does_not_pass_as_anothers_word(rig, relay):
    a, b = rig.spoke("a", relay=relay), rig.spoke("b", relay=relay)
    rig.engine.start()
    frame = _hello_of(a)
    says(rig, relay, EventKind.HELLO, b.id, frame)
    refused(rig, 1, "ENV_ISS")
    assert not SpokeSession.select().exists()


def test_t051_a_relay_that_withholds_leaves_its_spokes_undelivered_and_nothing_done(rig, relay):
    web = rig.spoke("web-01", relay=relay).start()
    rig.engine.start()
    until(lambda: SpokeSession.get_or_none(SpokeSession.live))
    web.stop()
    swallowed = MemoryConnection(rig.broker, relay_user(relay)).consume(fleet_queue(DEFAULT_FLEET, web.id), prefetch=9)
    task = rig.run("true", web)
    until(lambda: swallowed.take(9, 0.2))
    assert Job.get(Job.task == task.id).state in {JobState.SENT, JobState.WAITING, JobState.PLANNED}
    rig.shift_ms += 3600 * 1000
    until(lambda: Outbox.get_or_none(Outbox.kind == OutboxKind.CANCEL))
    rig.shift_ms += 60 * 1000
    ended = until(lambda: (row := Task.get_by_id(task.id)).ended_at and row)
    assert ended.state is TaskState.UNKNOWN
    assert Job.get(Job.task == task.id).state is JobState.UNKNOWN


@pytest.mark.parametrize("word", ["delivered", "accepted", "up", "done"])
def test_t063_a_relay_that_says_delivered_makes_no_job_accepted(rig, relay, word):
    web = rig.spoke("web-01", lambda _: None, relay=relay).start()
    rig.engine.start()
    until(lambda: SpokeSession.get_or_none(SpokeSession.live))
    web.stop()
    task = rig.run("true", web)
    until(lambda: Job.get(Job.task == task.id).state is JobState.SENT)
    job = Job.get(Job.task == task.id)
    hints(rig, relay, web.id, state=word, reason=word, detail=job.id)
    says(rig, relay, EventKind.ACK, web.id, json.dumps({"state": "accepted", "cid": job.id}).encode())
    says(rig, relay, EventKind.RESULT, web.id, b"")
    until(lambda: rig.engine.quarantine.total >= 2)
    assert Job.get(Job.task == task.id).state is JobState.SENT


def test_t053_what_a_relay_signs_with_its_own_key_is_no_result(rig, relay):
    """Its key stands in the hub's rows, and signs nothing."""
    sign, box = SigningKey.generate(), BoxKey.generate()
    with write_tx():
        row = Spoke.get_by_id(relay)
        row.sign_pk, row.sign_kid, row.box_pk = sign.verify_key.pk.hex(), sign.kid.hex(), box.public.pk.hex()
        rig.hub.seals.seal(row)
        row.save()
    web = rig.spoke("web-01", lambda _: None, relay=relay).start()
    rig.engine.start()
    task = rig.run("true", web)
    kept = until(lambda: next(iter(web.journal.values()), None))
    web.sign = sign
    forged = web._session()
    forged.hello(_facts(), time.time(), time.monotonic())
    frame = web.seal(MessageType.ACK, Ack(AckState.RUNNING, ""), cid=kept.command.cid, re=kept.mid, rh=kept.rh).frame
    resigned = frame[:12] + sign.kid + frame[28:-64]
    says(rig, relay, EventKind.ACK, web.id, resigned + sign.sign(b"manyarm/v1/ack\0" + resigned))
    refused(rig, 1, "ENV_KEY")
    assert Job.get(Job.task == task.id).state is not JobState.RUNNING


def test_t053_a_command_signed_by_a_relay_is_refused_by_the_spoke(rig, relay):
    web = rig.spoke("web-01", relay=relay).start()
    rig.engine.start()
    until(web.live.is_set)
    sign = SigningKey.generate()
    body = Command(Op.PING, new_id(), {}, (), {}, "", Limits(1, 1, 1, 1), "", 0, "")
    forged = seal_to_spoke(
        MessageType.COMMAND, body, signer=sign, spoke_box=web.box.public, hub_id=rig.hub_id, spoke_id=web.id,
        ses=web.session.nonce, seq=99, epoch=rig.trust.epoch, now_s=int(time.time()), cid=body.cid,
    )  # fmt: skip
    web.receive(forged.frame)
    assert web.rejects == ["ENV_KEY"]
    assert web.journal == {}


def test_a_relay_carries_for_no_spoke_of_another_fleet_and_for_no_polling_one(rig, relay):
    listening, polling = rig.spoke("a", relay=relay), rig.spoke("b")
    with write_tx():
        row = Spoke.get_by_id(listening.id)
        row.fleet = "north"
        rig.hub.seals.seal(row)
        row.save()
    rig.engine.start()
    says(rig, relay, EventKind.HELLO, listening.id, _hello_of(listening))
    says(rig, relay, EventKind.HELLO, polling.id, _hello_of(polling))
    refused(rig, 2, "ENV_POLICY")
    assert not SpokeSession.select().exists()


def test_a_polling_spoke_s_user_does_not_pass_for_a_relay_and_a_relay_not_for_another(rig, relay):
    web, other = rig.spoke("a", relay=relay), rig.relay("relay-02")
    polling = rig.spoke("b")
    rig.engine.start()
    key = relay_key(relay, EventKind.HELLO, web.id)
    for user in (relay_user(other), spoke_user(polling.id)):
        rig.broker._permissions[user] = rig.broker._permissions["hub"]  # A broker that lets everything pass.
        rig.broker.route(Outgoing(EVENTS, key, _hello_of(web)), user)
    refused(rig, 2, "ENV_ISS")


def test_a_revoked_relay_carries_nothing_from_the_next_message_on(rig, relay):
    web = rig.spoke("web-01", relay=relay)
    rig.engine.start()
    web.hello()
    until(lambda: SpokeSession.select().count() == 1)
    with write_tx():
        row = Spoke.get_by_id(relay)
        row.state = SpokeState.REVOKED
        rig.hub.seals.seal(row)
        row.save()
    rig.engine.spoke_revoked(relay)
    web.session = web._session()
    web.hello()
    refused(rig, 1, "ENV_POLICY")


def test_another_relay_may_take_a_spoke_over_in_the_middle(rig, relay):
    web = rig.spoke("web-01", lambda _: None, relay=relay).start()
    rig.engine.start()
    task = rig.run("true", web)
    kept = until(lambda: next(iter(web.journal.values()), None))
    web.relay = rig.relay("relay-02")
    web.connection = MemoryConnection(rig.broker, relay_user(web.relay))
    web.report(kept, Run())
    rig.ended(task)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({"reason": "port-closed", "detail": "web-01:10933"}, "nothing listens there (web-01:10933)"),
        (
            {"reason": "thumbprint-differs", "detail": "found SHA256:x"},
            "whoever answers there has another thumbprint (found SHA256:x)",
        ),
        ({"reason": "gremlins"}, "it is not reached"),
        ({"reason": ["port-closed"], "detail": 7}, "it is not reached"),
        ({"reason": "timeout", "detail": "\u202eevil\n"}, "no answer from there (\\u202eevil\\n)"),
    ],
    ids=str,
)
def test_what_a_relay_says_explains_why_a_target_is_away(rig, relay, said, shown):
    web = rig.spoke("web-01", relay=relay)
    rig.engine.start()
    hints(rig, relay, web.id, state="down", **said)
    until(lambda: Target.get_by_id(web.target.id).health_reason == shown)
    assert Target.get_by_id(web.target.id).health is Health.UNAVAILABLE
    hint = RelayHint.get_by_id(web.id)
    assert (hint.relay, hint.up, hint.reason) == (relay, "down", shown)
    assert Spoke.get_by_id(relay).last_seen_at is not None


def test_a_hint_does_not_touch_a_spoke_that_is_there(rig, relay):
    web = rig.spoke("web-01", relay=relay).start()
    rig.engine.start()
    until(lambda: Target.get_by_id(web.target.id).health is Health.HEALTHY)
    hints(rig, relay, web.id, state="down", reason="port-closed")
    until(lambda: RelayHint.get_or_none(RelayHint.spoke == web.id))
    assert Target.get_by_id(web.target.id).health is Health.HEALTHY
    rig.ended(rig.run("true", web))


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b"{", b"[" * 2000, b'{"state": ["up"]}', b'"up"', b"0" * 3000])
def test_a_hint_that_is_none_goes_to_quarantine(rig, relay, body):
    web = rig.spoke("web-01", relay=relay)
    rig.engine.start()
    says(rig, relay, EventKind.HINT, web.id, body)
    refused(rig, 1, "ENV_SCHEMA")


def test_hints_about_spokes_that_it_does_not_carry_are_nobody_s_business(rig, relay):
    polling = rig.spoke("web-01")
    rig.engine.start()
    hints(rig, relay, polling.id, state="down", reason="port-closed")
    hints(rig, relay, new_id(), state="down", reason="port-closed")
    refused(rig, 2, "ENV_POLICY")
    assert RelayHint.select().count() == 0


def test_a_relay_that_says_up_of_itself_was_seen(rig, relay):
    rig.engine.start()
    hints(rig, relay, relay, state="up")
    until(lambda: Spoke.get_by_id(relay).last_seen_at)
    assert rig.broker.depth(HUB_BEATS) == 0
    assert RelayHint.select().count() == 0


def test_the_enrolment_of_an_introduced_spoke_is_kept_for_the_engine_and_a_stranger_s_is_not(rig, relay):
    sign = SigningKey.generate()
    with write_tx():
        target = Target(
            name="web-09",
            kind=TargetKind.LISTENING,
            endpoint={"address": "web-09:10933", "thumbprint": thumbprint(sign.verify_key.pk)},
        )
        rig.hub.seals.seal(target)
        target.save(force_insert=True)
        expected = expect(Itself(now_ms(), rig.hub.vault, rig.hub.seals), target)
    rig.broker.add_tenant(listening_tenant(expected.id, DEFAULT_FLEET))
    rig.engine.start()
    frame = _enrolment(rig, sign)
    says(rig, relay, EventKind.ENROL, expected.id, frame)
    row = until(GatewayInbox.get_or_none)
    assert (bytes(row.body), row.source) == (frame, f"relay:{relay}")
    says(rig, relay, EventKind.ENROL, new_id(), frame)
    refused(rig, 1, "ENV_POLICY")
    # Under the id that is expected, a key that nobody has introduced costs no row and no line of the audit log.
    says(rig, relay, EventKind.ENROL, expected.id, _enrolment(rig, SigningKey.generate()))
    refused(rig, 2, "ENV_POLICY")
    assert GatewayInbox.select().count() == 1
    hints(rig, relay, expected.id, state="down", reason="port-closed")
    until(lambda: Target.get_by_id(target.id).health_reason == "nothing listens there")


def _hello_of(spoke) -> bytes:
    return spoke.session.hello(_facts(), time.time(), time.monotonic())


def _facts():
    return SpokeFacts(1, "sim", Platform("Linux", "x86_64", "6.1", "3.11", "host"))


def _enrolment(rig, sign: SigningKey) -> bytes:
    body = Enrol(
        "0" * 16, "0" * 32, BoxKey.generate().public.pk.hex(), "ab" * 32, new_id(),
        Platform("Linux", "x86_64", "6.1", "3.11", "host"), "", "listening", "", (), (),
    )  # fmt: skip
    return seal_enrol(
        body,
        signer=sign,
        hub_box=rig.parts.boxes()[0].public,
        hub_id=rig.hub_id,
        trust_sha256=rig.chain.sha256,
        epoch=1,
        now_s=int(time.time()),
    ).frame

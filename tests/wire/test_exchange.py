"""Enrolment, intents, rotation and documents between honest parties, and where each of them says no."""

import base64
import hashlib
from dataclasses import replace

import pytest

from tests.fakes.forging import code_of, refusal
from tests.fakes.parties import DAY, FACTS, NOW, FakeHub, command, heartbeat
from tests.wire.test_messages import SAMPLES
from wire.documents import (
    BoxDocument,
    DocumentKind,
    FleetDocument,
    FleetSpoke,
    RunnerDocument,
    accept_runner,
    open_document,
    sign_document,
)
from wire.envelope import ENROL_MAX, MessageType
from wire.errors import Code
from wire.join_code import JoinCode
from wire.keys import BoxKey, SigningKey, new_id, thumbprint
from wire.messages import JobReport, JobState
from wire.roles import Role
from wire.rotation import rotated_key, rotation_to
from wire.session import (
    open_enrol,
    open_enrolled,
    open_intent,
    seal_enrol,
    seal_intent,
    seal_to_spoke,
)

RUNNER = RunnerDocument("runner", 3, "0.3.0", "a" * 64, 100, "3.9", ("linux",), NOW, NOW + DAY, "")


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


@pytest.fixture
def newcomer():
    return SigningKey.generate(), BoxKey.generate()


def enrolment(hub, newcomer, **changes):
    signing, box = newcomer
    body = replace(SAMPLES[MessageType.ENROL], box_pk=box.public.pk.hex(), **changes)
    return body, seal_enrol(
        body,
        signer=signing,
        hub_box=hub.box.public,
        hub_id=hub.hub_id,
        trust_sha256=hub.chain.sha256,
        epoch=1,
        now_s=NOW,
    )


def answer(hub, newcomer, enrol_sha256, **changes):
    spoke_id = new_id()
    body = replace(SAMPLES[MessageType.ENROLLED], spoke_id=spoke_id, enrol_sha256=enrol_sha256, hub_id=hub.hub_id)
    asked = {
        "signer": hub.command,
        "spoke_box": newcomer[1].public,
        "hub_id": hub.hub_id,
        "spoke_id": spoke_id,
        "ses": "",
        "seq": 0,
        "epoch": 1,
        "now_s": NOW,
    }
    return body, seal_to_spoke(
        MessageType.ENROLLED, replace(body, **changes.pop("body", {})), **(asked | changes)
    ).frame


def test_a_newcomer_proves_its_key_and_says_on_which_trust_it_relies(hub, newcomer):
    body, sealed = enrolment(hub, newcomer)
    received = open_enrol(sealed.frame, [hub.box], hub.hub_id)
    assert received.body == body
    assert received.signer.verify_key == newcomer[0].verify_key
    assert received.header.trust == hub.chain.sha256
    assert received.frame_sha256 == sealed.sha256


def test_an_enrolment_for_another_hub_or_box_or_too_long_is_refused(hub, newcomer):
    frame = enrolment(hub, newcomer)[1].frame
    assert code_of(open_enrol, frame, [hub.box], new_id()) is Code.ENV_AUD
    assert code_of(open_enrol, frame, [BoxKey.generate()], hub.hub_id) is Code.ENV_SEAL
    assert code_of(open_enrol, frame + bytes(ENROL_MAX), [hub.box], hub.hub_id) is Code.ENV_TOOBIG
    assert code_of(enrolment, hub, newcomer, environments=("e" * 90,) * 20) is Code.ENV_TOOBIG
    assert code_of(hub.receive, frame) is Code.ENV_TYPE


def test_an_enrolment_under_anothers_key_id_or_with_a_weak_box_is_refused(hub, newcomer):
    frame = enrolment(hub, newcomer)[1].frame
    assert code_of(open_enrol, frame[:12] + bytes(16) + frame[28:], [hub.box], hub.hub_id) is Code.ENV_KEY
    assert code_of(open_enrol, frame[:-1] + bytes([frame[-1] ^ 1]), [hub.box], hub.hub_id) is Code.ENV_SIG
    body = replace(SAMPLES[MessageType.ENROL], box_pk="0" * 64)
    weak = seal_enrol(
        body, signer=newcomer[0], hub_box=hub.box.public, hub_id=hub.hub_id, trust_sha256="0" * 64, epoch=1, now_s=NOW
    )
    assert code_of(open_enrol, weak.frame, [hub.box], hub.hub_id) is Code.KEY_WEAK


def test_the_answer_opens_for_the_one_that_asked_whatever_its_clock_says(hub, newcomer):
    sealed = enrolment(hub, newcomer)[1]
    body, frame = answer(hub, newcomer, sealed.sha256)
    header, opened = open_enrolled(frame, hub.chain, [newcomer[1]], enrol_sha256=sealed.sha256)
    assert (header.aud, opened) == (body.spoke_id, body)


def test_an_answer_to_another_enrolment_or_from_another_hub_is_refused(hub, newcomer):
    mine = "c" * 64
    _, frame = answer(hub, newcomer, "b" * 64)
    assert code_of(open_enrolled, frame, hub.chain, [newcomer[1]], enrol_sha256=mine) is Code.REPLY_BINDING
    _, frame = answer(hub, newcomer, mine, body={"spoke_id": new_id()})
    assert code_of(open_enrolled, frame, hub.chain, [newcomer[1]], enrol_sha256=mine) is Code.ENV_AUD
    _, frame = answer(FakeHub(hub_id=hub.hub_id), newcomer, mine)
    assert code_of(open_enrolled, frame, hub.chain, [newcomer[1]], enrol_sha256=mine) is Code.ENV_KEY
    _, frame = answer(hub, newcomer, mine, hub_id=new_id())
    assert code_of(open_enrolled, frame, hub.chain, [newcomer[1]], enrol_sha256=mine) is Code.ENV_ISS


def test_an_intent_of_the_portal_opens_at_the_engine_and_nobody_else_may_write_one(hub):
    intent = SAMPLES[MessageType.INTENT]
    asked = {"hub_box": hub.box.public, "hub_id": hub.hub_id, "epoch": 1, "now_s": NOW}
    frame = seal_intent(intent, signer=hub.portal, **asked).frame
    received = open_intent(frame, hub.chain.directory(), [hub.box], hub.hub_id, NOW)
    assert (received.body, received.signer.owner) == (intent, "portal")
    for signer in (hub.command, hub.root, SigningKey.generate()):
        forged = seal_intent(intent, signer=signer, **asked).frame
        assert code_of(open_intent, forged, hub.chain.directory(), [hub.box], hub.hub_id, NOW) is Code.ENV_KEY
    assert code_of(open_intent, frame, hub.chain.directory(), [hub.box], hub.hub_id, NOW + 900) is Code.ENV_EXPIRED
    assert code_of(open_intent, frame, hub.chain.directory(), [hub.box], new_id(), NOW) is Code.ENV_AUD
    spoke = hub.new_spoke()
    assert code_of(spoke.session.receive, frame, 1.0) is Code.ENV_TYPE


def test_the_portals_key_signs_no_command(hub):
    spoke = hub.new_spoke()
    hub.open_session(spoke)
    frame = hub.send(spoke, command(), signer=hub.portal).frame
    assert code_of(spoke.session.receive, frame, spoke.mono) is Code.ENV_KEY


def test_what_is_sealed_under_the_wrong_type_is_refused_before_it_is_sent(hub):
    spoke = hub.new_spoke()
    hub.open_session(spoke)
    assert code_of(hub.send, spoke, command(), kind=MessageType.CANCEL) is Code.ENV_TYPE
    assert code_of(hub.send, spoke, heartbeat(spoke.session), kind=MessageType.HEARTBEAT) is Code.ENV_TYPE
    assert code_of(spoke.session.seal, MessageType.COMMAND, command(), spoke.mono) is Code.ENV_TYPE
    assert code_of(spoke.session.seal, MessageType.LOG, heartbeat(spoke.session), spoke.mono) is Code.ENV_TYPE


def test_nothing_is_sealed_before_the_welcome_and_numbers_begin_at_one_after(hub):
    spoke = hub.new_spoke()
    beat = SAMPLES[MessageType.HEARTBEAT]
    assert code_of(spoke.session.seal, MessageType.HEARTBEAT, beat, 1.0) is Code.ENV_SESSION
    assert code_of(spoke.session.time, 1.0) is Code.ENV_SESSION
    for _ in range(2):
        hub.open_session(spoke)
        sealed = [spoke.session.seal(MessageType.HEARTBEAT, heartbeat(spoke.session), spoke.mono) for _ in range(3)]
        assert [one.seq for one in sealed] == [1, 2, 3]
        assert [hub.receive(one.frame).header.ses for one in sealed] == [spoke.session.nonce] * 3


def test_a_hello_reports_its_newest_500_jobs_and_is_due_again_after_half_a_day(hub):
    spoke = hub.new_spoke()
    reports = tuple(JobReport(new_id(), JobState.ACCEPTED) for _ in range(600))
    assert spoke.session.hello_due(spoke.mono)
    hello = hub.receive(spoke.session.hello(replace(FACTS, reports=reports), NOW, spoke.mono))
    assert hello.body.reports == reports[:500]
    hub.open_session(spoke)
    assert not spoke.session.hello_due(spoke.mono + 3600)
    assert spoke.session.hello_due(spoke.mono + 12 * 3600 + 1)


def test_a_rotation_is_proved_by_the_new_key_for_this_spoke_and_hub():
    new, spoke_id, hub_id = SigningKey.generate(), new_id(), new_id()
    body = rotation_to(new, spoke_id=spoke_id, hub_id=hub_id)
    assert rotated_key(body, spoke_id=spoke_id, hub_id=hub_id) == new.verify_key
    assert code_of(rotated_key, body, spoke_id=new_id(), hub_id=hub_id) is Code.ENV_SIG
    other = replace(body, new_pk=SigningKey.generate().verify_key.pk.hex())
    assert code_of(rotated_key, other, spoke_id=spoke_id, hub_id=hub_id) is Code.ENV_SIG
    assert code_of(rotated_key, replace(body, new_pk="0" * 64), spoke_id=spoke_id, hub_id=hub_id) is Code.KEY_WEAK


def test_a_box_document_is_signed_by_the_command_key_for_this_hub(hub):
    document = BoxDocument.of(hub.hub_id, hub.box.public, issued=NOW, expires=NOW + DAY)
    keys = hub.chain.directory()
    opened = BoxDocument.open(document.sign(hub.command), keys, NOW, hub.hub_id)
    assert (opened, opened.box) == (document, hub.box.public)
    assert [opened.is_current(at) for at in (NOW, NOW + DAY - 1, NOW + DAY)] == [True, True, False]
    assert code_of(BoxDocument.open, document.sign(hub.release), keys, NOW, hub.hub_id) is Code.ENV_KEY
    assert code_of(BoxDocument.open, document.sign(hub.command), keys, NOW, new_id()) is Code.ENV_ISS
    swapped = replace(document, kid="0" * 32).sign(hub.command)
    assert code_of(BoxDocument.open, swapped, keys, NOW, hub.hub_id) is Code.ENV_KEY
    changed = document.sign(hub.command).replace(b'"issued":18', b'"issued":17')
    assert code_of(BoxDocument.open, changed, keys, NOW, hub.hub_id) is Code.TRUST_SIG


def test_a_runner_document_is_signed_by_the_release_key_alone(hub):
    keys = hub.chain.directory()
    assert RunnerDocument.open(RUNNER.sign(hub.release), keys, NOW) == RUNNER
    for signer in (hub.command, hub.root, SigningKey.generate()):
        assert code_of(RunnerDocument.open, RUNNER.sign(signer), keys, NOW) is Code.RUN_SIG
    changed = RUNNER.sign(hub.release).replace(b'"release":3', b'"release":4')
    assert code_of(RunnerDocument.open, changed, keys, NOW) is Code.RUN_SIG


def test_a_runner_that_expired_or_is_below_the_trust_documents_floor_is_not_taken():
    taken = accept_runner(RUNNER, None, min_release=3, kids=["aa" * 16], at=NOW + DAY - 1)
    assert (taken.number, taken.sha256) == (3, "a" * 64)
    for min_release, at, code in ((3, NOW + DAY, Code.RUN_EXPIRED), (4, NOW, Code.RUN_ROLLBACK)):
        assert code_of(accept_runner, RUNNER, None, min_release=min_release, kids=["aa" * 16], at=at) is code


def test_a_document_of_one_kind_does_not_pass_for_another(hub):
    keys = hub.chain.directory()
    frame = BoxDocument.of(hub.hub_id, hub.box.public, issued=NOW, expires=NOW + DAY).sign(hub.command)
    assert code_of(open_document, frame, DocumentKind.FLEET, keys, NOW) is Code.ENV_TYPE
    relabelled = frame[:4] + b"\0\4" + frame[6:]
    assert code_of(open_document, relabelled, DocumentKind.FLEET, keys, NOW) is Code.TRUST_SIG
    unsigned = sign_document(DocumentKind.FLEET, {})
    twice = sign_document(DocumentKind.FLEET, {}, hub.command, hub.command)
    for wrong in (unsigned, twice):
        assert code_of(open_document, wrong, DocumentKind.FLEET, keys, NOW) is Code.TRUST_SIG
    assert open_document(sign_document(DocumentKind.FLEET, {"a": 1}, hub.command), DocumentKind.FLEET, keys, NOW) == {
        "a": 1
    }


def test_a_document_cut_or_lengthened_anywhere_is_refused(hub):
    frame = hub.chain.frames[0]
    for length in range(len(frame)):
        assert code_of(hub.chain.update, [frame[:length]]) in (Code.ENV_SHORT, Code.ENV_LENGTH, Code.ENV_VERSION)
    assert code_of(hub.chain.update, [frame + b"\0"]) is Code.ENV_LENGTH
    assert code_of(hub.chain.update, [frame[:6] + b"\x11" + frame[7:]]) is Code.ENV_TOOBIG
    assert code_of(sign_document, DocumentKind.BOX, {"a": "x" * 70_000}, hub.command) is Code.ENV_TOOBIG
    assert code_of(sign_document, DocumentKind.FLEET, {"a": "x" * 5_000_000}, hub.command) is Code.ENV_TOOBIG


def fleet_of(hub, *spokes: FleetSpoke) -> FleetDocument:
    return FleetDocument(hub.hub_id, "default", NOW, NOW + 3600, "hub.example:8443", spokes)


def fleet_spoke(number: int, **changes: str) -> FleetSpoke:
    shown = thumbprint(SigningKey.from_seed(number.to_bytes(32, "big")).verify_key.pk)
    spoke = FleetSpoke(f"{number:032x}", f"host-{number}.example.com:10933", shown, "0f" * 32)
    return replace(spoke, **changes)


def test_a_fleet_of_thousands_is_one_document_of_hub_command(hub):
    fleet = fleet_of(hub, *(fleet_spoke(number) for number in range(1, 2_001)))
    keys = hub.chain.directory()
    assert FleetDocument.open(fleet.sign(hub.command), keys, NOW, hub.hub_id) == fleet
    assert code_of(FleetDocument.open, fleet.sign(hub.portal), keys, NOW, hub.hub_id) is Code.ENV_KEY
    assert code_of(FleetDocument.open, fleet.sign(hub.command), keys, NOW, "f" * 32) is Code.ENV_ISS


@pytest.mark.parametrize(
    "changes",
    [{"address": "nowhere"}, {"address": "a:0"}, {"address": "a:65536"}, {"thumbprint": "SHA256:abcd"}, {"id": "../x"}],
    ids=str,
)
def test_a_fleet_document_with_a_spoke_that_is_none_is_refused(hub, changes):
    frame = fleet_of(hub, fleet_spoke(1, **changes)).sign(hub.command)
    assert code_of(FleetDocument.open, frame, hub.chain.directory(), NOW, hub.hub_id) is Code.ENV_SCHEMA


def test_a_spoke_stands_in_a_fleet_once(hub):
    frame = fleet_of(hub, fleet_spoke(1), fleet_spoke(1, address="elsewhere:1")).sign(hub.command)
    assert code_of(FleetDocument.open, frame, hub.chain.directory(), NOW, hub.hub_id) is Code.ENV_SCHEMA


def test_the_chain_hands_out_keys_by_role_and_owner(hub):
    keys = hub.chain.directory()
    assert keys.key(hub.portal.kid, Role.HUB_PORTAL, NOW).owner == "portal"
    assert keys.key(hub.command.kid, Role.HUB_COMMAND, NOW).owner == "hub"
    assert code_of(keys.key, hub.command.kid, Role.HUB_PORTAL, NOW) is Code.ENV_KEY
    assert code_of(keys.key, hub.command.kid, Role.HUB_COMMAND, NOW + 400 * DAY) is Code.ENV_KEY
    assert keys.timeless().key(hub.command.kid, Role.HUB_COMMAND, 0)


@pytest.mark.parametrize("address", ["hub:8443", "10.0.0.1:1", "[2001:db8::1]:65535", "a-b.example.com:443"])
def test_a_join_code_comes_back_as_it_was(address):
    code = JoinCode(b"\x01" * 32, b"\x02" * 8, b"\x03" * 16, address)
    parsed = JoinCode.parse(code.text)
    assert (parsed.root_thumbprint, parsed.token_id, parsed.token_secret, parsed.address) == (
        b"\x01" * 32,
        b"\x02" * 8,
        b"\x03" * 16,
        address,
    )
    assert "0303" not in repr(code)
    assert "\\x03" not in repr(code)


@pytest.mark.parametrize(
    "address", ["", "hub", "hub:", ":1", "hub:0", "hub:65536", "hub:１", "-x:1", "a b:1", "a/b:1", "a:1\n", "u@h:1"]
)
def test_a_join_code_holds_nothing_but_host_and_port(address):
    assert refusal(JoinCode, b"\x01" * 32, b"\x02" * 8, b"\x03" * 16, address).code is Code.JOIN_BAD


def join_text(version: int, announced: int, address: bytes) -> str:
    """A join code with a right checksum over whatever is in it."""
    covered = bytes([version]) + bytes(56) + bytes([announced]) + address
    packed = covered + hashlib.sha256(b"manyarm/v1/join\0" + covered).digest()[:4]
    return "maj1-" + base64.b32encode(packed).decode().rstrip("=").lower()


def test_a_join_code_whose_parts_do_not_add_up_is_refused_even_with_a_right_checksum():
    assert JoinCode.parse(join_text(1, 5, b"hub:1")).address == "hub:1"
    for announced, address in ((4, b"hub:1"), (6, b"hub:1"), (6, b"h\xc3\xbcb:1"), (0, b"")):
        assert refusal(JoinCode.parse, join_text(1, announced, address)).code is Code.JOIN_BAD
    assert "upgrade" in refusal(JoinCode.parse, join_text(2, 5, b"hub:1")).detail

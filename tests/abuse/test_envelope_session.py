"""Honest frames in the wrong place, at the wrong time, in the wrong session (the journal's share is told elsewhere)."""

from dataclasses import replace

import pytest

from tests.fakes.forging import code_of, receive, refusal, with_body
from tests.fakes.parties import DAY, FACTS, NOW, FakeHub, FakeSpoke, command, heartbeat
from wire import messages
from wire.envelope import Header, MessageType, seal
from wire.errors import Code
from wire.keys import BoxKey, SigningKey, new_id
from wire.messages import Cancel, Result
from wire.roles import Role
from wire.sequence import WINDOW, SequenceWindow
from wire.session import open_from_spoke
from wire.trust import DocumentKey


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


@pytest.fixture
def spoke(hub) -> FakeSpoke:
    made = hub.new_spoke()
    hub.open_session(made)
    return made


def result() -> Result:
    return Result(messages.EndState.SUCCEEDED, 0, "", (), (), (), 0, None, 1, 2, 0, "0" * 64, "")


def test_t005_a_frame_for_another_spoke_is_refused_and_still_opens_at_its_own(hub, spoke):
    other = hub.new_spoke()
    hub.open_session(other)
    frame = hub.send(other, command()).frame
    refused = refusal(receive, spoke, frame)
    assert refused.code is Code.ENV_AUD
    assert refused.mid
    assert receive(other, frame).first


def test_t005_a_frame_addressed_to_us_in_the_header_alone_does_not_open(hub, spoke):
    other = hub.new_spoke()
    relabelled = hub.send(spoke, command(), spoke_box=other.box.public).frame
    assert code_of(receive, spoke, relabelled) is Code.ENV_SEAL


def test_t006_the_second_delivery_of_a_frame_is_known_as_such(hub, spoke):
    frame = hub.send(spoke, command()).frame
    first, again = receive(spoke, frame), receive(spoke, frame)
    assert (first.first, again.first) == (True, False)
    assert (again.header.cid, again.frame_sha256) == (first.header.cid, first.frame_sha256)


def test_t007_a_frame_of_a_session_before_the_restart_is_refused(hub, spoke):
    frame = hub.send(spoke, command()).frame
    hub.restarted(spoke)
    assert code_of(receive, spoke, frame) is Code.ENV_SESSION
    hub.open_session(spoke)
    assert code_of(receive, spoke, frame) is Code.ENV_SESSION
    assert receive(spoke, hub.send(spoke, command()).frame).first


def test_t009_a_frame_past_its_expiry_is_refused(hub, spoke):
    frame = hub.send(spoke, command(), ttl_s=30).frame
    spoke.mono += 29
    assert receive(spoke, frame)
    spoke.mono += 1
    assert code_of(receive, spoke, frame) is Code.ENV_EXPIRED


def test_t010_a_frame_from_the_future_is_refused(hub, spoke):
    assert receive(spoke, hub.send(spoke, command(), now_s=NOW + 120).frame)
    for ahead in (121, 600, 10 * 365 * DAY):
        assert code_of(receive, spoke, hub.send(spoke, command(), now_s=NOW + ahead).frame) is Code.ENV_FUTURE


@pytest.mark.parametrize("ttl_s", [DAY + 1, 0, -1, -900])
def test_t011_a_span_that_is_no_span_or_too_long_is_refused(hub, spoke, ttl_s):
    assert code_of(receive, spoke, hub.send(spoke, command(), ttl_s=ttl_s).frame) is Code.ENV_TTL


@pytest.mark.parametrize(
    ("iat", "exp"), [(0, NOW + 60), (NOW, 2**53), (-5, NOW), (NOW, -1), (NOW, 0), (2**53, 2**53 + 9)]
)
def test_t011_times_that_are_no_times_are_refused_by_sender_and_receiver(hub, spoke, iat, exp):
    header = Header(spoke.spoke_id, hub.hub_id, new_id(), new_id(), spoke.session.nonce, 1, 1, iat, exp)
    refused = refusal(seal, MessageType.COMMAND, header, b"{}", signer=hub.command, recipient=spoke.box.public)
    assert refused.code is Code.ENV_SCHEMA
    assert refused.field in ("iat", "exp")


@pytest.mark.parametrize("off", [DAY, -DAY, 3650 * DAY, -3650 * DAY, -NOW])
def test_t012_a_wrong_wall_clock_refuses_no_honest_command_and_revives_no_dead_one(hub, off):
    spoke = hub.new_spoke()
    hub.open_session(spoke, wall_s=NOW + off)
    assert spoke.session.clock_skew
    assert abs(spoke.session.clock_skew_s - off) <= 1
    assert spoke.session.time(spoke.mono) == NOW
    honest, dead = hub.send(spoke, command()).frame, hub.send(spoke, command(), now_s=NOW - 901).frame
    assert receive(spoke, honest)
    assert code_of(receive, spoke, dead) is Code.ENV_EXPIRED
    answer = spoke.session.seal(MessageType.HEARTBEAT, heartbeat(spoke.session), spoke.mono)
    assert hub.receive(answer.frame).header.iat == NOW


def test_t012_a_right_clock_warns_of_nothing(hub, spoke):
    assert not spoke.session.clock_skew


def test_t012_a_welcome_that_comes_late_is_not_taken_and_a_new_hello_is_due(hub):
    spoke = hub.new_spoke()
    late = hub.welcome_to(spoke, spoke.session.hello(FACTS, NOW, spoke.mono))
    assert not spoke.session.hello_due(spoke.mono)
    spoke.mono += 600
    hub.now += 600
    assert code_of(spoke.session.welcome, late, spoke.mono) is Code.ENV_SESSION
    assert not spoke.session.live
    assert spoke.session.hello_due(spoke.mono)
    hub.open_session(spoke)
    assert spoke.session.time(spoke.mono) == hub.now


def test_t012_a_delayed_welcome_never_makes_us_believe_an_earlier_time(hub):
    spoke = hub.new_spoke()
    welcome = hub.welcome_to(spoke, spoke.session.hello(FACTS, NOW, spoke.mono))
    spoke.mono += 59
    hub.now += 59
    spoke.session.welcome(welcome, spoke.mono)
    assert spoke.session.time(spoke.mono) >= hub.now


def test_t013_another_hub_is_unknown_and_a_former_id_of_ours_is_refused(hub, spoke):
    stranger = FakeHub(hub_id=hub.hub_id)
    assert code_of(receive, spoke, stranger.send(spoke, command()).frame) is Code.ENV_KEY
    assert code_of(receive, spoke, hub.send(spoke, command(), hub_id=new_id()).frame) is Code.ENV_ISS


def test_t013_a_spoke_that_names_another_as_sender_is_refused_by_the_hub(hub, spoke):
    other = hub.new_spoke()
    header = Header(hub.hub_id, other.spoke_id, new_id(), "", spoke.session.nonce, 1, 1, NOW, NOW + 60)
    body = messages.encode(heartbeat(spoke.session))
    forged = seal(MessageType.HEARTBEAT, header, body, signer=spoke.signing, recipient=hub.box.public)
    assert code_of(hub.receive, forged) is Code.ENV_ISS


def test_t014_a_spoke_that_was_removed_is_unknown_to_the_hub(hub, spoke):
    frame = spoke.session.seal(MessageType.HEARTBEAT, heartbeat(spoke.session), spoke.mono).frame
    hub.spokes.remove(spoke)
    assert code_of(hub.receive, frame) is Code.ENV_KEY


def test_t016_a_key_is_good_from_nbf_until_naf_and_in_the_overlap_of_a_rotation(hub, spoke):
    fresh = SigningKey.generate()
    old = next(key for key in hub.chain.document.keys if key.role is Role.HUB_COMMAND)
    others = tuple(key for key in hub.chain.document.keys if key is not old)
    rotated = (
        *others,
        replace(old, naf=NOW + 200),
        DocumentKey.of(fresh.verify_key, Role.HUB_COMMAND, nbf=NOW + 100, naf=NOW + DAY),
    )
    spoke.session.trust = spoke.session.trust.update([hub.publish(keys=rotated)])
    for after, old_is_good, fresh_is_good in (
        (0, 1, 0),
        (99, 1, 0),
        (100, 1, 1),
        (199, 1, 1),
        (200, 0, 1),
        (201, 0, 1),
    ):
        mono, at = spoke.mono + after, NOW + after
        for signer, is_good in ((hub.command, old_is_good), (fresh, fresh_is_good)):
            frame = hub.send(spoke, command(), signer=signer, now_s=at).frame
            if is_good:
                assert spoke.session.receive(frame, mono).first
            else:
                assert code_of(spoke.session.receive, frame, mono) is Code.ENV_KEY


def test_t016_a_revoked_key_is_unknown_at_once(hub, spoke):
    frame = hub.send(spoke, command()).frame
    spoke.session.trust = spoke.session.trust.update([hub.publish(revoked=(hub.command.kid.hex(),))])
    assert code_of(receive, spoke, frame) is Code.ENV_KEY


def test_t016_a_key_out_of_its_time_signs_no_welcome(hub):
    spoke = hub.new_spoke()
    hello = spoke.session.hello(FACTS, NOW, spoke.mono)
    hub.now += 366 * DAY
    assert code_of(spoke.session.welcome, hub.welcome_to(spoke, hello), spoke.mono) is Code.ENV_KEY


def test_t016_a_retired_key_signs_no_welcome_even_around_a_good_box_document(hub):
    retired = SigningKey.generate()
    key = DocumentKey.of(retired.verify_key, Role.HUB_COMMAND, nbf=NOW - DAY, naf=NOW)
    hub.publish(keys=(*hub.chain.document.keys, key))
    spoke = hub.new_spoke()
    hello = spoke.session.hello(FACTS, NOW, spoke.mono)
    assert code_of(spoke.session.welcome, hub.welcome_to(spoke, hello, signer=retired), spoke.mono) is Code.ENV_KEY
    assert spoke.session.welcome(hub.welcome_to(spoke, hello), spoke.mono)


def test_t031_a_header_and_body_that_name_different_jobs_start_nothing(hub, spoke):
    frame = with_body(hub, spoke, messages.encode(command()), cid=new_id())
    assert (refusal(receive, spoke, frame).code, refusal(receive, spoke, frame).field) == (Code.ENV_SCHEMA, "cid")


def test_t032_numbers_out_of_order_inside_the_window_are_each_taken_once(hub, spoke):
    numbers = [5, 1, 4, 2, 3, WINDOW, 700]
    frames = {seq: hub.send(spoke, command(), seq=seq).frame for seq in numbers}
    assert [receive(spoke, frames[seq]).first for seq in numbers] == [True] * len(numbers)
    assert [receive(spoke, frames[seq]).first for seq in numbers] == [False] * len(numbers)


def test_t032_a_number_beyond_the_window_is_refused_and_a_new_session_takes_the_job(hub, spoke):
    job = command()
    assert not spoke.session.hello_due(spoke.mono)
    assert code_of(receive, spoke, hub.send(spoke, job, seq=WINDOW + 1).frame) is Code.ENV_SEQ
    assert spoke.session.hello_due(spoke.mono)
    hub.open_session(spoke)
    again = receive(spoke, hub.send(spoke, job).frame)
    assert (again.header.cid, again.header.seq) == (job.cid, 1)


def test_t032_a_number_that_was_refused_for_another_reason_leaves_no_gap(hub, spoke):
    for seq in range(1, WINDOW + 1):
        if seq % 100 == 7:
            assert code_of(receive, spoke, hub.send(spoke, command(), now_s=NOW - 3600).frame) is Code.ENV_EXPIRED
        else:
            assert receive(spoke, hub.send(spoke, command()).frame).first
    assert receive(spoke, hub.send(spoke, command()).frame).header.seq == WINDOW + 1


def test_t032_a_number_below_the_floor_is_refused(hub, spoke):
    window = SequenceWindow()
    for seq in range(1, WINDOW + 11):
        window, first = window.accept(seq)
        assert first
    assert window.floor == 10
    assert window.accept(11) == (window, False)
    assert code_of(window.accept, 10) is Code.ENV_SEQ
    assert code_of(window.accept, 0) is Code.ENV_SEQ
    assert code_of(window.accept, window.floor + 10 * WINDOW) is Code.ENV_SEQ


def test_t035_at_the_session_only_one_of_many_deliveries_is_the_first(hub, spoke):
    frame = hub.send(spoke, command()).frame
    assert [receive(spoke, frame).first for _ in range(200)].count(True) == 1


def test_a_session_that_ended_by_a_planned_hello_still_takes_what_was_sent_in_it(hub, spoke):
    early = hub.send(spoke, command()).frame
    former = spoke.session.nonce
    hub.now += 300
    spoke.mono += 300
    hub.open_session(spoke)
    assert receive(spoke, early).first
    later = hub.send(spoke, command(), ses=former, now_s=hub.now + 121, ttl_s=600, seq=2).frame
    spoke.mono += 60
    assert code_of(receive, spoke, later) is Code.ENV_SESSION
    spoke.mono += 900
    assert code_of(receive, spoke, early) is Code.ENV_EXPIRED
    hub.now += 960
    hub.open_session(spoke)
    assert code_of(receive, spoke, hub.send(spoke, command(), ses=former, seq=3).frame) is Code.ENV_SESSION


def test_only_the_welcome_to_our_own_hello_opens_a_session(hub, spoke):
    other = hub.new_spoke()
    mine = spoke.session.hello(FACTS, NOW, spoke.mono)
    welcome = hub.welcome_to(spoke, mine)
    foreign = hub.welcome_to(other, other.session.hello(FACTS, NOW, other.mono))
    assert code_of(spoke.session.welcome, foreign, spoke.mono) is Code.ENV_AUD
    forged = hub.welcome_to(spoke, mine, nonce=new_id())
    assert code_of(spoke.session.welcome, forged, spoke.mono) is Code.ENV_SESSION
    elsewhere = hub.welcome_to(spoke, mine, ses=new_id())
    assert code_of(spoke.session.welcome, elsewhere, spoke.mono) is Code.ENV_SESSION
    spoke.session.welcome(welcome, spoke.mono)
    assert code_of(spoke.session.welcome, welcome, spoke.mono) is Code.ENV_SESSION
    assert code_of(receive, spoke, welcome) is Code.ENV_TYPE


def test_a_welcome_with_a_box_key_that_the_hub_did_not_certify_is_refused(hub):
    spoke = hub.new_spoke()
    hello = spoke.session.hello(FACTS, NOW, spoke.mono)
    thief = FakeHub(hub_id=hub.hub_id)
    assert (
        code_of(spoke.session.welcome, hub.welcome_to(spoke, hello, box=thief.box_frame().hex()), spoke.mono)
        is Code.ENV_KEY
    )
    hub.now -= 61 * DAY
    old_box = hub.box_frame().hex()
    hub.now += 61 * DAY
    expired = hub.welcome_to(spoke, hello, box=old_box)
    assert code_of(spoke.session.welcome, expired, spoke.mono) is Code.TRUST_EXPIRED
    assert not spoke.session.live


def test_a_lower_epoch_is_refused_once_a_higher_one_was_seen(hub, spoke):
    assert receive(spoke, hub.send(spoke, command(), epoch=3).frame)
    assert code_of(receive, spoke, hub.send(spoke, command(), epoch=2).frame) is Code.ENV_EPOCH


def test_a_command_under_a_retired_box_key_opens_while_it_is_kept_and_then_does_not(hub, spoke):
    fresh = BoxKey.generate()
    frame = hub.send(spoke, command()).frame
    spoke.session.identity = replace(spoke.session.identity, boxes=(fresh, spoke.box))
    assert receive(spoke, frame)
    spoke.session.identity = replace(spoke.session.identity, boxes=(fresh,))
    assert code_of(receive, spoke, frame) is Code.ENV_SEAL


def test_cancels_carry_their_job_and_what_spokes_send_is_not_taken_from_the_hub(hub, spoke):
    cancel = Cancel(new_id(), "asked by a person")
    received = receive(spoke, hub.send(spoke, cancel, kind=MessageType.CANCEL).frame)
    assert received.body == cancel
    own = spoke.session.seal(MessageType.HEARTBEAT, heartbeat(spoke.session), spoke.mono).frame
    assert code_of(receive, spoke, own) is Code.ENV_KEY


def test_the_hub_judges_the_time_of_every_message_but_hello(hub, spoke):
    frames = {
        "heartbeat": spoke.session.seal(MessageType.HEARTBEAT, heartbeat(spoke.session), spoke.mono).frame,
        "result": spoke.session.seal(
            MessageType.RESULT, result(), spoke.mono, cid=new_id(), re=new_id(), rh="0" * 64
        ).frame,
        "hello": spoke.session.hello(FACTS, NOW, spoke.mono),
    }
    late = {"heartbeat": NOW + 900, "result": NOW + DAY}
    for name, at in late.items():
        assert open_from_spoke(frames[name], hub.directory(), [hub.box], hub.hub_id, at - 1)
        assert code_of(open_from_spoke, frames[name], hub.directory(), [hub.box], hub.hub_id, at) is Code.ENV_EXPIRED
        assert (
            code_of(open_from_spoke, frames[name], hub.directory(), [hub.box], hub.hub_id, NOW - 121) is Code.ENV_FUTURE
        )
    for at in (1, NOW + 3650 * DAY):
        assert open_from_spoke(frames["hello"], hub.directory(), [hub.box], hub.hub_id, at)
    assert code_of(open_from_spoke, frames["result"], hub.directory(), [hub.box], new_id(), NOW) is Code.ENV_AUD

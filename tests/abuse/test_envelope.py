"""Frames that somebody cut, changed, moved or relabelled on purpose (the codec's share of the list)."""

import hashlib
import json
import random
import resource
import struct
from dataclasses import replace

import nacl.bindings
import pytest

from tests.fakes.forging import code_of, header_bytes, receive, refusal, resigned, with_body, with_header
from tests.fakes.parties import NOW, FakeHub, FakeSpoke, command
from tests.wire import test_protocol_page as page
from wire import canonical, envelope, messages
from wire.envelope import Header, MessageType, seal, unseal, verify
from wire.errors import Code
from wire.keys import BoxKey, SigningKey
from wire.messages import Op
from wire.roles import KeyTable, Role, TrustedKey


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


@pytest.fixture
def spoke(hub) -> FakeSpoke:
    made = hub.new_spoke()
    hub.open_session(made)
    return made


@pytest.fixture
def frame(hub, spoke) -> bytes:
    return hub.send(spoke, command()).frame


@pytest.mark.parametrize("name", page.NAMES)
def test_t001_the_recorded_vector_opens_and_no_other_box_key_opens_it(name):
    directory = KeyTable(
        [
            TrustedKey(SigningKey(b"\x02" * 32).verify_key, Role.HUB_COMMAND, "hub"),
            TrustedKey(SigningKey(b"\x04" * 32).verify_key, Role.SPOKE_SIGN, "0b" * 16),
        ]
    )
    verified = verify(page.frame_of(name), directory, NOW)
    header, body = page.texts_of(name)
    boxes = [BoxKey.from_bytes(b"\x03" * 32), BoxKey.from_bytes(b"\x05" * 32)]
    assert canonical.encode({key: getattr(verified.header, key) for key in json.loads(header)}) == header
    assert unseal(verified, boxes) == body
    assert code_of(unseal, verified, [BoxKey.generate(), BoxKey.from_bytes(b"\x06" * 32)]) is Code.ENV_SEAL


def test_t002_no_frame_with_one_bit_flipped_is_accepted(hub, spoke, frame):
    keys = hub.chain.directory()
    for bit in range(8 * len(frame)):
        flipped = bytearray(frame)
        flipped[bit // 8] ^= 1 << bit % 8
        code_of(verify, bytes(flipped), keys, NOW)
    # The signature covers all; the seal holds by itself too, even where the signer himself changed it.
    sealed_at = 28 + len(header_bytes(frame))
    for position in range(sealed_at, len(frame) - 64, 7):
        flipped = bytearray(frame)
        flipped[position] ^= 1
        assert code_of(receive, spoke, resigned(bytes(flipped), hub.command)) is Code.ENV_SEAL
    honest = hub.send(spoke, command())
    assert receive(spoke, honest.frame).first


def test_t002_a_sealed_reply_cannot_be_stripped_and_signed_by_another(hub, spoke, frame):
    thief = SigningKey.generate()
    stolen = frame[:12] + thief.kid + frame[28:]
    keys = KeyTable([TrustedKey(thief.verify_key, Role.HUB_COMMAND, "hub")])
    verified = verify(resigned(stolen, thief), keys, NOW)
    assert code_of(unseal, verified, [spoke.box]) is Code.ENV_SEAL


def test_t004_a_frame_cut_at_any_length_is_refused_as_short_or_wrong_in_length(hub, spoke, frame):
    for length in range(1, len(frame)):
        assert code_of(receive, spoke, frame[:length]) in (Code.ENV_SHORT, Code.ENV_LENGTH)
    assert receive(spoke, frame).first


def test_t014_a_random_key_id_and_one_known_only_in_another_role_are_unknown(hub, spoke, frame):
    for kid in (random.Random(14).randbytes(16), hub.root.kid, hub.portal.kid, spoke.signing.kid):
        assert code_of(receive, spoke, frame[:12] + kid + frame[28:]) is Code.ENV_KEY
    stranger_signed = resigned(frame[:12] + hub.portal.kid + frame[28:], hub.portal)
    assert code_of(receive, spoke, stranger_signed) is Code.ENV_KEY


def test_t015_a_spoke_or_relay_key_signs_no_command(hub, spoke):
    other, relay = hub.new_spoke(), SigningKey.generate()
    both = KeyTable([other.trusted, TrustedKey(relay.verify_key, Role.RELAY, "relay")])
    for signer in (other.signing, relay):
        forged = hub.send(spoke, command(), signer=signer).frame
        assert code_of(receive, spoke, forged) is Code.ENV_KEY
        assert code_of(verify, forged, both, NOW) is Code.ENV_KEY


def test_t017_unknown_types_are_refused(hub, spoke, frame):
    for number in (0, 4, 15, 23, 34, 49, 99, 65_535):
        assert code_of(receive, spoke, frame[:4] + struct.pack(">H", number) + frame[6:]) is Code.ENV_TYPE


@pytest.mark.parametrize(
    "op",
    ["__class__", "_private", "os.system", "PING", "ping\0", " ping", "", "x" * 10_000, "run_job;id", "\u202eping"],
)
def test_t017_unknown_ops_are_refused(hub, spoke, op):
    body = json.loads(messages.encode(command())) | {"op": op}
    refused = refusal(receive, spoke, with_body(hub, spoke, canonical.encode(body)))
    assert refused.code is Code.ENV_OP
    assert refused.mid


def test_t017_the_tables_of_types_and_ops_are_the_documented_ones():
    ops = {"ping", "run_job", "update_trust", "rotate_keys", "check", "scan_host_key", "send_log"}
    assert {op.value for op in Op} == ops
    assert {kind.name.lower(): int(kind) for kind in MessageType} == {
        "command": 1,
        "cancel": 2,
        "welcome": 3,
        "hello": 16,
        "ack": 17,
        "result": 18,
        "log": 19,
        "heartbeat": 20,
        "reject": 21,
        "rotate": 22,
        "enrol": 32,
        "enrolled": 33,
        "intent": 48,
    }
    assert set(messages.BODIES) == set(envelope.SIGNER_ROLE) == set(MessageType)


@pytest.mark.parametrize(
    "start", [b"MAE0", b"MAE2", b"\x16\x03\x01\x02", b'{"op"', b"mae1", b"\xef\xbb\xbfMAE1", b"GET / HTTP/1.1\r\n"]
)
def test_t018_other_magics_are_refused_and_nothing_older_answers(hub, spoke, frame, start):
    assert code_of(receive, spoke, start + frame[len(start) :]) is Code.ENV_VERSION
    assert code_of(receive, spoke, start) is Code.ENV_VERSION
    assert code_of(receive, spoke, b"") is Code.ENV_VERSION


def test_t019_a_raised_minimum_refuses_the_old_version_and_says_upgrade(hub, spoke, frame):
    spoke.session.trust = spoke.session.trust.update([hub.publish(min_envelope=2)])
    refused = refusal(receive, spoke, frame)
    assert refused.code is Code.ENV_VERSION
    assert "upgrade" in refused.detail
    assert code_of(spoke.session.welcome, frame, spoke.mono) in (Code.ENV_TYPE, Code.ENV_VERSION)


@pytest.mark.parametrize(("header_size", "body_size"), [(65_535, 40), (100, 2**32 - 1), (4097, 40), (0, 2**20 + 17)])
def test_t020_announced_sizes_are_refused_before_anything_is_allocated(hub, header_size, body_size):
    bomb = struct.pack(">4sHHI16s", b"MAE1", 1, header_size, body_size, hub.command.kid).ljust(250, b"\0")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert code_of(verify, bomb, hub.chain.directory(), NOW) is Code.ENV_TOOBIG
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 5 * 1024


def test_t020_an_oversized_frame_is_refused_by_its_size_alone(hub):
    for frame in (b"MAE1" + bytes(3 << 20), bytes(3 << 20)):
        assert code_of(verify, frame, hub.chain.directory(), NOW) is Code.ENV_TOOBIG


def test_t021_glued_frames_and_stray_bytes_are_refused(hub, spoke, frame):
    assert code_of(receive, spoke, frame + frame) is Code.ENV_LENGTH
    assert code_of(receive, spoke, frame + b"\n") is Code.ENV_LENGTH
    assert code_of(receive, spoke, b"\xef\xbb\xbf" + frame) is Code.ENV_VERSION
    assert code_of(receive, spoke, b"\n" + frame) is Code.ENV_VERSION


def header_changes():
    good = {"aud": "a", "iss": "a", "mid": "a", "cid": "a", "ses": "a", "seq": 1, "epo": 1, "iat": 1, "exp": 2}
    for name, value in good.items():
        wrongs = [None, True, [], {}, 1.5, -1, 2**53] + (
            ["1", 1.0] if isinstance(value, int) else [1, "A" * 32, "0" * 33]
        )
        yield from ((name, wrong) for wrong in wrongs)


@pytest.mark.parametrize(("name", "wrong"), list(header_changes()))
def test_t023_a_wrong_type_in_the_header_is_named(hub, spoke, frame, name, wrong):
    header = json.loads(header_bytes(frame)) | {name: wrong}
    written = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    refused = refusal(receive, spoke, with_header(frame, written, hub.command))
    if isinstance(wrong, float):
        assert refused.code is Code.ENV_FLOAT
    else:
        assert refused.code is Code.ENV_SCHEMA
        assert refused.field == name or wrong == 2**53


def test_t023_unknown_missing_and_misplaced_header_fields_are_named(hub, spoke, frame):
    header = json.loads(header_bytes(frame))
    for name in header:
        fewer = {key: value for key, value in header.items() if key != name}
        refused = refusal(receive, spoke, with_header(frame, canonical.encode(fewer), hub.command))
        assert (refused.code, refused.field) == (Code.ENV_SCHEMA, name)
    for name in ("re", "rh", "idx", "sign_pk", "__class__", "AUD"):
        more = canonical.encode(header | {name: "0" * 64})
        refused = refusal(receive, spoke, with_header(frame, more, hub.command))
        assert refused.code is Code.ENV_SCHEMA
        assert name in refused.field


@pytest.mark.parametrize(
    ("kind", "changes", "field"),
    [
        (MessageType.COMMAND, {"cid": ""}, "cid"),
        (MessageType.COMMAND, {"ses": ""}, "ses"),
        (MessageType.COMMAND, {"seq": 0}, "seq"),
        (MessageType.COMMAND, {"aud": ""}, "aud"),
        (MessageType.COMMAND, {"iss": ""}, "iss"),
        (MessageType.COMMAND, {"mid": ""}, "mid"),
        (MessageType.COMMAND, {"re": "0" * 32}, "re"),
        (MessageType.HELLO, {}, "seq"),
        (MessageType.WELCOME, {}, "seq"),
        (MessageType.INTENT, {"seq": 0}, "ses"),
        (MessageType.RESULT, {"cid": "", "re": "0" * 32, "rh": "0" * 64}, "cid"),
        (MessageType.RESULT, {"re": "0" * 32}, "rh"),
        (MessageType.LOG, {"idx": 0, "cnt": 0, "prev": "0" * 64}, "cnt"),
    ],
)
def test_t023_a_type_has_in_its_header_what_it_needs_and_nothing_else(kind, changes, field):
    good = Header("1" * 32, "2" * 32, "3" * 32, "4" * 32, "5" * 32, 1, 1, NOW, NOW + 1)
    refused = refusal(
        seal, kind, replace(good, **changes), b"{}", signer=SigningKey.generate(), recipient=BoxKey.generate().public
    )
    assert (refused.code, refused.field) == (Code.ENV_SCHEMA, field)


def test_t023_a_header_in_any_other_spelling_is_refused(hub, spoke, frame):
    good = header_bytes(frame)
    header = json.loads(good)
    spellings = {
        Code.ENV_HEADER: [
            good.replace(b'":', b'": ', 1),
            good + b" ",
            b"\n" + good,
            json.dumps(dict(reversed(header.items())), separators=(",", ":")).encode(),
            good.replace(b'"aud"', b'"\\u0061ud"'),
            good.replace(b'"epo":1', b'"epo":01'),
            good.replace(b'"epo":1', b'"epo":-0'),
            good[:-1],
            b"[" * 2000,
            b"\xef\xbb\xbf" + good,
            good.decode().encode("utf-16"),
            good.replace(b'"epo"', '"épo"'.encode()),
            b"",
            b"[]",
            b'"x"',
        ],
        Code.ENV_DUPKEY: [good[:-1] + b',"aud":"' + spoke.spoke_id.encode() + b'"}'],
        Code.ENV_FLOAT: [
            good.replace(b'"epo":1', b'"epo":' + number) for number in (b"1.0", b"1e0", b"NaN", b"1e999", b"-Infinity")
        ],
        Code.ENV_SCHEMA: [good.replace(b'"epo":1', b'"epo":' + b"9" * 400)],
    }
    for code, headers in spellings.items():
        for written in headers:
            assert code_of(receive, spoke, with_header(frame, written, hub.command)) is code


def test_t023_unknown_missing_and_wrong_body_fields_are_named(hub, spoke):
    good = json.loads(messages.encode(command()))
    wrongs = {"cid": 1, "job": [], "packages": {}, "secrets": {"a": 1}, "limits": 0, "not_before": True, "run_as": None}
    changes = [(name, {key: value for key, value in good.items() if key != name}) for name in good]
    changes += [(name.split(".")[0], good | {name: wrong}) for name, wrong in wrongs.items()]
    changes += [("extra", good | {"extra": 1}), ("limits.wall_s", good | {"limits": good["limits"] | {"wall_s": "1"}})]
    for name, body in changes:
        refused = refusal(receive, spoke, with_body(hub, spoke, canonical.encode(body), cid=good["cid"]))
        assert refused.code is Code.ENV_SCHEMA
        assert name in refused.field


@pytest.mark.parametrize(
    "start", ["", "dep/v1/command\0", "manyarm/v1/cancel\0", "manyarm/v1/command", "manyarm/v2/command\0"]
)
def test_t025_a_signature_with_another_or_no_purpose_does_not_hold(hub, spoke, frame, start):
    core = frame[:-64]
    assert code_of(receive, spoke, core + hub.command.sign(start.encode() + core)) is Code.ENV_SIG


def test_t025_a_prehashed_signature_does_not_hold(hub, spoke, frame):
    core, purpose = frame[:-64], b"manyarm/v1/command\0"
    over_digest = hub.command.sign(hashlib.sha256(purpose + core).digest())
    state = nacl.bindings.crypto_sign_ed25519ph_state()
    nacl.bindings.crypto_sign_ed25519ph_update(state, purpose + core)
    secret = hub.command.seed + hub.command.verify_key.pk
    prehashed = nacl.bindings.crypto_sign_ed25519ph_final_create(state, secret)
    for signature in (over_digest, prehashed, bytes(64), b"\xff" * 64):
        assert code_of(receive, spoke, core + signature) is Code.ENV_SIG


@pytest.mark.parametrize("name", ["cpu_s", "wall_s", "out_bytes", "disk_bytes"])
@pytest.mark.parametrize("limit", [0, -1, -(2**40)])
def test_t031_limits_that_are_none_are_refused(hub, spoke, name, limit):
    good = json.loads(messages.encode(command()))
    body = canonical.encode(good | {"limits": good["limits"] | {name: limit}})
    refused = refusal(receive, spoke, with_body(hub, spoke, body, cid=good["cid"]))
    assert (refused.code, refused.field) == (Code.ENV_OP, f"limits.{name}")


@pytest.mark.parametrize("size", [0, 1, 1024 * 1024])
def test_t036_bodies_up_to_a_mebibyte_travel(hub, spoke, size):
    frame = with_body(hub, spoke, bytes(size))
    verified = verify(frame, hub.chain.directory(), NOW)
    assert unseal(verified, [spoke.box]) == bytes(size)


def test_t036_one_byte_more_is_refused_on_both_sides_with_advice(hub, spoke):
    refused = refusal(with_body, hub, spoke, bytes(1024 * 1024 + 1))
    assert refused.code is Code.ENV_TOOBIG
    assert "package" in refused.detail
    frame = with_body(hub, spoke, bytes(1024 * 1024))
    grown = frame[:8] + struct.pack(">I", 1024 * 1024 + 17) + frame[12:-64] + b"x" + frame[-64:]
    assert code_of(receive, spoke, resigned(grown, hub.command)) is Code.ENV_TOOBIG
    assert "package" in refusal(messages.encode, command(secrets={str(i): "x" * 200_000 for i in range(6)})).detail


def test_t036_a_body_that_is_no_json_is_refused_after_it_was_opened(hub, spoke):
    for body in (b"", b"\xff" * 10, b"[" * 100_000, b'{"a":' * 50_000, b'{"a":1,"a":2}', b'{"a":1e5}', b'"\\ud800"'):
        refused = refusal(receive, spoke, with_body(hub, spoke, body))
        assert refused.code in (Code.ENV_SCHEMA, Code.ENV_DUPKEY, Code.ENV_FLOAT)
        assert refused.mid

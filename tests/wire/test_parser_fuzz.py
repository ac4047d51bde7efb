"""No input at any door leads to anything but Refused (seeded, so that it says the same each time)."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.forging import receive
from tests.fakes.parties import NOW, FakeHub, command
from wire import canonical, messages
from wire.documents import DocumentKind, open_document
from wire.envelope import MessageType, peek, verify, verify_enrol
from wire.errors import Refused
from wire.exchange import open_enrol, open_intent
from wire.join_code import JoinCode
from wire.keys import parse_thumbprint
from wire.trust import TrustChain

# One honest frame that the fuzz below starts from.
_HUB = FakeHub()
_SPOKE = _HUB.new_spoke()
_HUB.open_session(_SPOKE)
_HONEST = _HUB.send(_SPOKE, command()).frame


def opened(frame: bytes) -> None:
    """All doors at which bytes come in."""
    doors = (
        peek,
        lambda bytes_: verify(bytes_, _HUB.chain.directory(), NOW),
        verify_enrol,
        lambda bytes_: receive(_SPOKE, bytes_),
        lambda bytes_: _SPOKE.session.welcome(bytes_, _SPOKE.mono),
        _HUB.receive,
        lambda bytes_: open_enrol(bytes_, [_HUB.box], _HUB.hub_id),
        lambda bytes_: open_intent(bytes_, _HUB.chain.directory(), [_HUB.box], _HUB.hub_id, NOW),
        lambda bytes_: open_document(bytes_, DocumentKind.BOX, _HUB.chain.directory(), NOW),
        lambda bytes_: TrustChain.from_root(_HUB.root_sha256, [bytes_]),
        lambda bytes_: _HUB.chain.update([bytes_]),
    )
    for door in doors:
        try:
            door(frame)
        except Refused:
            continue
        assert door is peek


@settings(max_examples=400, derandomize=True, deadline=None)
@given(st.binary(max_size=600))
def test_no_bytes_lead_to_anything_but_refusal(data):
    opened(data)
    opened(b"MAE1" + data)
    opened(_HONEST[:28] + data)


@settings(max_examples=400, derandomize=True, deadline=None)
@given(st.integers(0, len(_HONEST) - 1), st.binary(min_size=1, max_size=40), st.booleans())
def test_no_changed_frame_leads_to_anything_but_refusal(position, patch, insert):
    changed = _HONEST[:position] + patch + _HONEST[position + (0 if insert else len(patch)) :]
    if changed != _HONEST:
        opened(changed)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([kind for kind in MessageType if kind is not MessageType.LOG]))
def test_no_body_leads_to_anything_but_refusal(data, kind):
    for body in (data, b'{"' + data, b'{"op":"ping","limits":' + data):
        with pytest.raises(Refused):
            messages.decode(kind, body)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.dictionaries(st.sampled_from(["op", "cid", "job", "limits", "packages", "secrets", "x"]), _json))
def test_no_json_leads_to_anything_but_refusal(value):
    good = json.loads(messages.encode(command()))
    data = json.dumps(good | value, sort_keys=True, separators=(",", ":")).encode()
    try:
        decoded = messages.decode(MessageType.COMMAND, data)
    except Refused:
        return
    assert messages.encode(decoded) == data


@settings(max_examples=300, derandomize=True, deadline=None)
@given(_json)
def test_what_is_written_canonically_reads_back_and_all_else_is_refused(value):
    try:
        written = canonical.encode(value)
    except Refused:
        return
    assert canonical.decode(written) == value


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 3))
def test_no_trust_document_leads_to_anything_but_refusal(data, signatures):
    frame = _HUB.chain.frames[0]
    for changed in (b"MAD1" + data, frame[:11] + data, frame[:11] + data + frame[11 + len(data) :]):
        if changed != frame:
            opened(changed)
    json_part = b'{"epoch":' + data
    fixed = b"MAD1" + bytes([0, 1, signatures]) + len(json_part).to_bytes(4, "big")
    opened(fixed + json_part + bytes(80 * signatures))


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.text(max_size=200))
def test_no_typed_text_leads_to_anything_but_refusal(text):
    for parse in (JoinCode.parse, parse_thumbprint):
        for typed in (text, "maj1-" + text, "SHA256:" + text):
            with pytest.raises(Refused):
                parse(typed)

"""How an attacker makes frames: other bytes under a real signature, other headers, bodies that no sender would write."""

import struct

import pytest

from tests.fakes.parties import FakeHub, FakeSpoke
from wire.envelope import Header, MessageType, seal
from wire.errors import Code, Refused
from wire.keys import SigningKey, new_id


def refusal(act, *args, **kwargs) -> Refused:
    """What was refused; it carries no secret, no long text and a reference."""
    with pytest.raises(Refused) as caught:
        act(*args, **kwargs)
    text = str(caught.value)
    assert "canary" not in text
    assert len(caught.value.detail) < 300
    assert text.isprintable()
    assert len(caught.value.ref) == 8
    return caught.value


def code_of(act, *args, **kwargs) -> Code:
    return refusal(act, *args, **kwargs).code


def receive(spoke: FakeSpoke, frame: bytes):
    return spoke.session.receive(frame, spoke.mono)


def resigned(frame: bytes, signer: SigningKey, kind: MessageType = MessageType.COMMAND) -> bytes:
    """The same bytes under a fresh signature of that key."""
    unsigned = frame[:-64]
    return unsigned + signer.sign(f"manyarm/v1/{kind.name.lower()}\0".encode() + unsigned)


def with_header(frame: bytes, header: bytes, signer: SigningKey) -> bytes:
    """A frame that carries other header bytes, signed; its seal is left broken, for the header is judged before."""
    size = int.from_bytes(frame[6:8], "big")
    fixed = frame[:6] + struct.pack(">H", len(header)) + frame[8:28]
    return resigned(fixed + header + frame[28 + size :], signer)


def header_bytes(frame: bytes) -> bytes:
    return frame[28 : 28 + int.from_bytes(frame[6:8], "big")]


def with_body(
    hub: FakeHub, spoke: FakeSpoke, body: bytes, kind: MessageType = MessageType.COMMAND, cid: str = ""
) -> bytes:
    """An authentic frame whose body the sender's own checks did not see."""
    spoke.hub_seq += 1
    header = Header(
        aud=spoke.spoke_id,
        iss=hub.hub_id,
        mid=new_id(),
        cid=cid or new_id(),
        ses=spoke.session.nonce,
        seq=spoke.hub_seq,
        epo=1,
        iat=hub.now,
        exp=hub.now + 900,
    )
    return seal(kind, header, body, signer=hub.command, recipient=spoke.box.public)

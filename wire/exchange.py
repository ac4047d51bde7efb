"""Sealing and opening whole messages where no session state is kept: the hub, the portal, and enrolment. PURE.

What the hub must still ask of its rows after `open_from_spoke`: is `header.ses` the session that it knows, has
`header.seq` its place in the window, and what do `re` and `rh` answer.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType

from wire import messages
from wire.envelope import (
    DIRECTION_TO_HUB,
    DIRECTION_TO_SPOKE,
    Header,
    MessageType,
    Verified,
    frame_sha256,
    seal,
    unseal,
    verify,
    verify_enrol,
)
from wire.errors import Code, Refused
from wire.keys import BoxKey, BoxPublicKey, SigningKey, hex_bytes
from wire.messages import Body, Enrol, Enrolled, Intent
from wire.roles import KeyDirectory, TrustedKey
from wire.trust import TrustChain

TTL_S = 900
TTL_MAX_S = 86_400
SKEW_S = 120

Random = Callable[[int], bytes]

# A report must outlive a hub that is away for a day; presence is worth nothing after minutes.
REPORT_TTL_S: MappingProxyType[MessageType, int] = MappingProxyType(
    {kind: TTL_S if kind is MessageType.HEARTBEAT else TTL_MAX_S for kind in DIRECTION_TO_HUB}
)


@dataclass(frozen=True, slots=True)
class Received:
    """A message that passed every check of frames, address, time, seal and schema.

    `first` is False for a number seen before in its session (the broker delivers again): the journal decides what
    that means, for it may have failed to keep the first one. `body_sha256` is of results alone: which of two it is.
    """

    kind: MessageType
    header: Header
    body: Body
    frame_sha256: str
    signer: TrustedKey
    first: bool = True
    body_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Sealed:
    mid: str
    seq: int
    frame: bytes = field(repr=False)

    @property
    def sha256(self) -> str:
        return frame_sha256(self.frame)


def seal_to_spoke(
    kind: MessageType,
    body: Body,
    *,
    signer: SigningKey,
    spoke_box: BoxPublicKey,
    hub_id: str,
    spoke_id: str,
    ses: str,
    seq: int,
    epoch: int,
    now_s: int,
    ttl_s: int = TTL_S,
    cid: str = "",
    random: Random = os.urandom,
) -> Sealed:
    """One message to a spoke; `seq` is 0 for welcome and enrolled, and `ses` empty for enrolled."""
    if kind not in DIRECTION_TO_SPOKE or kind is not messages.kind_of(body):
        raise Refused(Code.ENV_TYPE, f"a {kind.name.lower()} to a spoke does not hold a {type(body).__name__}")
    header = Header(
        aud=spoke_id,
        iss=hub_id,
        mid=random(16).hex(),
        cid=cid,
        ses=ses,
        seq=seq,
        epo=epoch,
        iat=now_s,
        exp=now_s + ttl_s,
    )
    return seal_body(header, body, signer=signer, recipient=spoke_box, random=random)


def open_from_spoke(
    frame: bytes,
    keys: KeyDirectory,
    boxes: Sequence[BoxKey],
    hub_id: str,
    now_s: int,
    *,
    latest_s: int = 0,
    minimum: int = 1,
) -> Received:
    """A spoke's message: who sent it is `signer.owner`, decided by the key.

    `latest_s`: what a spoke may take for the present, where our clock was set back since it was told.

    The time of a hello is not judged, for a spoke has no trusted time before it is welcomed: its freshness is shown by
    the heartbeat that echoes the hub's nonce.
    """
    verified = verify(frame, keys, now_s, minimum=minimum)
    with naming(verified.header):
        if verified.kind not in DIRECTION_TO_HUB:
            raise Refused(Code.ENV_TYPE, f"{verified.kind.name.lower()} does not come from a spoke")
        check_address(verified.header, aud=hub_id, iss=verified.signer.owner)
        check_span(verified.header)
        if verified.kind is not MessageType.HELLO:
            check_time(verified.header, now_s, latest_s)
        return open_body(verified, boxes)


def seal_intent(
    body: Intent,
    *,
    signer: SigningKey,
    hub_box: BoxPublicKey,
    hub_id: str,
    epoch: int,
    now_s: int,
    ttl_s: int = TTL_S,
    cid: str = "",
    random: Random = os.urandom,
) -> Sealed:
    header = Header(
        aud=hub_id, iss=hub_id, mid=random(16).hex(), cid=cid, ses="", seq=0, epo=epoch, iat=now_s, exp=now_s + ttl_s
    )
    return seal_body(header, body, signer=signer, recipient=hub_box, random=random)


def open_intent(frame: bytes, keys: KeyDirectory, boxes: Sequence[BoxKey], hub_id: str, now_s: int) -> Received:
    verified = verify(frame, keys, now_s)
    with naming(verified.header):
        if verified.kind is not MessageType.INTENT:
            raise Refused(Code.ENV_TYPE, "only an intent is taken here")
        check_address(verified.header, aud=hub_id, iss=hub_id)
        check_span(verified.header)
        check_time(verified.header, now_s)
        return open_body(verified, boxes)


def seal_enrol(
    body: Enrol,
    *,
    signer: SigningKey,
    hub_box: BoxPublicKey,
    hub_id: str,
    trust_sha256: str,
    epoch: int,
    now_s: int,
    random: Random = os.urandom,
) -> Sealed:
    """An enrolment, signed by the very key that it brings."""
    header = Header(
        aud=hub_id,
        iss="",
        mid=random(16).hex(),
        cid="",
        ses="",
        seq=0,
        epo=epoch,
        iat=now_s,
        exp=now_s + TTL_S,
        sign_pk=signer.verify_key.pk.hex(),
        trust=trust_sha256,
    )
    return seal_body(header, body, signer=signer, recipient=hub_box, random=random)


def open_enrol(frame: bytes, boxes: Sequence[BoxKey], hub_id: str) -> Received:
    """An enrolment with sound keys; its time is not judged, for the token has an expiry of its own."""
    verified = verify_enrol(frame)
    if verified.header.aud != hub_id:
        raise Refused(Code.ENV_AUD, "the enrolment is for another hub")
    check_span(verified.header)
    received = open_body(verified, boxes)
    assert isinstance(received.body, Enrol)
    BoxPublicKey.of(hex_bytes(received.body.box_pk, 32))
    return received


def open_enrolled(
    frame: bytes, trust: TrustChain, boxes: Sequence[BoxKey], *, enrol_sha256: str
) -> tuple[Header, Enrolled]:
    """The hub's answer to this very enrolment, which makes it fresh whatever our clock says."""
    verified = verify(frame, trust.directory().timeless(), 0, minimum=trust.document.min_envelope)
    if verified.kind is not MessageType.ENROLLED:
        raise Refused(Code.ENV_TYPE, "only the answer to an enrolment is taken here")
    check_address(verified.header, aud=verified.header.aud, iss=trust.document.hub)
    body = open_body(verified, boxes).body
    assert isinstance(body, Enrolled)
    if body.spoke_id != verified.header.aud or body.hub_id != trust.document.hub:
        raise Refused(Code.ENV_AUD, "header and body of the answer name different parties")
    if body.enrol_sha256 != enrol_sha256:
        raise Refused(Code.REPLY_BINDING, "this answers another enrolment")
    return verified.header, body


def seal_body(
    header: Header, body: Body, *, signer: SigningKey, recipient: BoxPublicKey, random: Random = os.urandom
) -> Sealed:
    kind = messages.kind_of(body)
    frame = seal(kind, header, messages.encode(body), signer=signer, recipient=recipient, random=random)
    return Sealed(header.mid, header.seq, frame)


def open_body(verified: Verified, boxes: Sequence[BoxKey], *, first: bool = True) -> Received:
    """Unseal and decode; header and body must name the same job."""
    data = unseal(verified, boxes)
    body = messages.decode(verified.kind, data)
    if getattr(body, "cid", verified.header.cid) != verified.header.cid:
        raise Refused(Code.ENV_SCHEMA, "header and body name different jobs", field="cid")
    told = hashlib.sha256(data).hexdigest() if verified.kind is MessageType.RESULT else ""
    return Received(verified.kind, verified.header, body, verified.frame_sha256, verified.signer, first, told)


def check_address(header: Header, *, aud: str, iss: str) -> None:
    if header.aud != aud:
        raise Refused(Code.ENV_AUD, f"addressed to {header.aud}")
    if header.iss != iss:
        raise Refused(Code.ENV_ISS, f"it names {header.iss or 'nobody'} as its sender")


def check_span(header: Header) -> None:
    if not 0 < header.exp - header.iat <= TTL_MAX_S:
        raise Refused(Code.ENV_TTL, f"valid for {header.exp - header.iat} s; 1 to {TTL_MAX_S} are allowed")


def check_time(header: Header, now_s: int, latest_s: int = 0) -> None:
    if header.iat > max(now_s, latest_s) + SKEW_S:
        raise Refused(Code.ENV_FUTURE, f"made {header.iat - now_s} s from now")
    if header.exp <= now_s:
        raise Refused(Code.ENV_EXPIRED, f"expired {now_s - header.exp} s ago")


@contextmanager
def naming(header: Header) -> Iterator[None]:
    """Whatever is refused in here was authentic: the refusal says which message and job it was."""
    try:
        yield
    except Refused as refusal:
        refusal.mid, refusal.cid = header.mid, header.cid
        raise

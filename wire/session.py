"""The spoke's side of a session: hello and welcome, time without trusting clocks, order of checks. PURE.

    spoke                                         hub
      | hello  (fresh nonce, clock, versions)      |
      |------------------------------------------->|
      |        welcome (nonce again, hub time,     |
      |<-------------- hub nonce, trust version)   |
      | heartbeat (hub nonce again)                |   now the hub knows that the spoke is alive
      |------------------------------------------->|
      |<------------- commands carry the nonce     |

A recorded command is worthless after any restart: no later session has its nonce. Time is the welcome's plus the
monotonic clock since hello was sent, so a delayed welcome can make us expire things early, never late.
Not for several threads.
"""

import os
from collections import deque
from dataclasses import dataclass, replace

from wire.documents import BoxDocument
from wire.envelope import DIRECTION_TO_HUB, Header, MessageType, Verified, peek, verify
from wire.errors import Code, Refused
from wire.exchange import (
    REPORT_TTL_S,
    SKEW_S,
    TTL_MAX_S,
    TTL_S,
    Random,
    Received,
    Sealed,
    check_address,
    check_span,
    check_time,
    naming,
    open_body,
    open_enrol,
    open_enrolled,
    open_from_spoke,
    open_intent,
    seal_body,
    seal_enrol,
    seal_intent,
    seal_to_spoke,
)
from wire.keys import BoxKey, BoxPublicKey, SigningKey
from wire.messages import REPORTS_MAX, Body, Hello, JobReport, Platform, Welcome, kind_of
from wire.sequence import SequenceWindow
from wire.trust import TrustChain

__all__ = [
    "Received",
    "Sealed",
    "SequenceWindow",
    "SpokeFacts",
    "SpokeIdentity",
    "SpokeSession",
    "open_enrol",
    "open_enrolled",
    "open_from_spoke",
    "open_intent",
    "seal_enrol",
    "seal_intent",
    "seal_to_spoke",
]

WELCOME_WITHIN_S = 60
RENEW_AFTER_S = 12 * 3600
_NONCES_KEPT = 64


@dataclass(frozen=True, slots=True)
class SpokeIdentity:
    """Who we are, and the box keys that may still open something, newest first."""

    spoke_id: str
    hub_id: str
    signing: SigningKey
    boxes: tuple[BoxKey, ...]


@dataclass(frozen=True, slots=True)
class SpokeFacts:
    """What a hello says beside the session's own values; reports are newest first."""

    runner_release: int
    software: str
    platform: Platform
    reports: tuple[JobReport, ...] = ()


@dataclass(frozen=True, slots=True)
class _Asked:
    nonce: str
    wall_s: int
    mono_s: float
    signing: SigningKey


@dataclass(slots=True)
class _Open:
    nonce: str
    hub_nonce: str
    hub_time: int
    mono_s: float
    window: SequenceWindow
    next_seq: int = 1
    closed_at: int | None = None
    is_worn_out: bool = False
    """A number came that its window cannot place: time for a new session."""


class SpokeSession:
    """All that a spoke's daemon remembers between hello and the next restart; `mono_s` is a monotonic clock.

    Attributes:
        trust: Set it anew when a newer chain was verified and stored.
        hub_box: To whom we seal; each welcome renews it.
        clock_skew_s: Wall clock minus hub time at the last welcome.
    """

    def __init__(
        self,
        identity: SpokeIdentity,
        trust: TrustChain,
        epoch: int,
        hub_box: BoxPublicKey,
        random: Random = os.urandom,
    ) -> None:
        self.identity = identity
        self.trust = trust
        self.hub_box = hub_box
        self.clock_skew_s = 0
        self._epoch_floor = epoch
        self._random = random
        self._asked: _Asked | None = None
        self._open: _Open | None = None
        self._former: _Open | None = None
        self._named_trust_version = 0
        self._said: deque[str] = deque(maxlen=_NONCES_KEPT)
        self.is_doubled = False
        """A welcome came that answers a hello of somebody else under our key: the reader of this sets it back."""

    def hello(self, facts: SpokeFacts, wall_s: float, mono_s: float, *, signing: SigningKey | None = None) -> bytes:
        """Ask for a session; an open one stays open until the welcome comes.

        Args:
            facts: What the hub is told of us.
            wall_s: UTC, told and never believed.
            mono_s: Now.
            signing: The next signing key, which the hub knows by a `rotate`: it takes over with the welcome.
        """
        asked = _Asked(self._random(16).hex(), max(1, int(wall_s)), mono_s, signing or self.identity.signing)
        body = Hello(
            nonce=asked.nonce,
            clock=asked.wall_s,
            trust_version=self.trust.version,
            runner_release=facts.runner_release,
            box_pk=self.identity.boxes[0].public.pk.hex(),
            software=facts.software,
            platform=facts.platform,
            reports=facts.reports[:REPORTS_MAX],
        )
        made_at = self.time(mono_s) if self._open else asked.wall_s
        header = self._header(made_at, ses=asked.nonce, seq=0, ttl_s=TTL_S)
        sealed = seal_body(header, body, signer=asked.signing, recipient=self.hub_box, random=self._random)
        self._asked = asked
        self._said.append(asked.nonce)
        return sealed.frame

    def welcome(self, frame: bytes, mono_s: float) -> Welcome:
        """Open the session that our last hello asked for; the former one lives on for what was sent in it.

        Raises:
            Refused: ENV_SESSION for another nonce or an answer after 60 s (say hello again); codes of frames.
        """
        kind, _ = peek(frame)
        if kind is not MessageType.WELCOME:
            raise Refused(Code.ENV_TYPE, "only a welcome is taken here")
        verified = verify(frame, self.trust.directory().timeless(), 0, minimum=self.trust.document.min_envelope)
        with naming(verified.header):
            asked = self._check_welcome(verified, mono_s)
            body = open_body(verified, self.identity.boxes).body
            assert isinstance(body, Welcome)
            box = self._check_welcome_body(body, asked)
        self._begin(asked, body, verified.header)
        self.hub_box = box
        return body

    def receive(self, frame: bytes, mono_s: float) -> Received:
        """A command or cancel of this session, checked in the order of the page: frame, address, epoch, session,
        number, time, seal, schema. What the machine's owner allows, and the journal, come after.
        """
        verified = self._verify(frame, mono_s)
        with naming(verified.header):
            header = verified.header
            if verified.kind not in (MessageType.COMMAND, MessageType.CANCEL):
                raise Refused(Code.ENV_TYPE, f"{verified.kind.name.lower()} is not taken here")
            self._check_sender(header)
            session = self._session_of(header)
            # Counted before it is judged further: a number that was refused is not one that is missing.
            first = self._count(session, header.seq)
            now_s = self.time(mono_s)
            check_span(header)
            check_time(header, now_s)
            if verified.kind is MessageType.COMMAND and self.trust.expired(now_s):
                raise Refused(Code.TRUST_EXPIRED, f"version {self.trust.version}")
            self._epoch_floor = max(self._epoch_floor, header.epo)
            return open_body(verified, self.identity.boxes, first=first)

    def seal(
        self,
        kind: MessageType,
        body: Body,
        mono_s: float,
        *,
        cid: str = "",
        re: str = "",
        rh: str = "",
        idx: int = -1,
        cnt: int = -1,
        prev: str = "",
    ) -> Sealed:
        """One message to the hub under the open session; Refused(ENV_SESSION) where there is none."""
        if kind not in DIRECTION_TO_HUB or kind is MessageType.HELLO or kind is not kind_of(body):
            raise Refused(Code.ENV_TYPE, f"a {kind.name.lower()} from a session does not hold a {type(body).__name__}")
        session = self._current()
        header = self._header(
            self.time(mono_s),
            ses=session.nonce,
            seq=session.next_seq,
            ttl_s=REPORT_TTL_S[kind],
            cid=cid,
            re=re,
            rh=rh,
            idx=idx,
            cnt=cnt,
            prev=prev,
        )
        sealed = seal_body(header, body, signer=self.identity.signing, recipient=self.hub_box, random=self._random)
        session.next_seq += 1
        return sealed

    def sign_with(self, key: SigningKey) -> None:
        """Go on under this signing key of ours."""
        self.identity = replace(self.identity, signing=key)

    def open_with(self, boxes: tuple[BoxKey, ...]) -> None:
        """Other box keys of ours, the newest first; the next hello announces that one."""
        self.identity = replace(self.identity, boxes=boxes)

    @property
    def live(self) -> bool:
        return self._open is not None

    @property
    def nonce(self) -> str:
        return self._open.nonce if self._open else ""

    @property
    def hub_nonce(self) -> str:
        return self._open.hub_nonce if self._open else ""

    @property
    def last_seq(self) -> int:
        """The highest number received from the hub in this session."""
        return self._open.window.highest if self._open else 0

    @property
    def clock_skew(self) -> bool:
        """The wall clock is off by more than two minutes: a warning, never a reason to accept."""
        return abs(self.clock_skew_s) > SKEW_S

    @property
    def trust_behind(self) -> bool:
        """The hub named a newer trust document than the one held (TRUST_GAP until it is fetched)."""
        return self._named_trust_version > self.trust.version

    def hello_due(self, mono_s: float) -> bool:
        """No answer is awaited, and there is no session, or it is half a day old or has lost count."""
        if self._asked is not None and mono_s - self._asked.mono_s <= WELCOME_WITHIN_S:
            return False
        session = self._open
        return session is None or session.is_worn_out or mono_s - session.mono_s > RENEW_AFTER_S

    def time(self, mono_s: float) -> int:
        """The hub's UTC seconds; Refused(ENV_SESSION) before the first welcome."""
        session = self._current()
        return session.hub_time + int(mono_s - session.mono_s)

    def _verify(self, frame: bytes, mono_s: float) -> Verified:
        keys = self.trust.directory()
        minimum = self.trust.document.min_envelope
        if self._open is None:
            # No time yet; no frame passes the session check below either.
            return verify(frame, keys.timeless(), 0, minimum=minimum)
        return verify(frame, keys, self.time(mono_s), minimum=minimum)

    def _check_sender(self, header: Header) -> None:
        check_address(header, aud=self.identity.spoke_id, iss=self.identity.hub_id)
        floor = max(self._epoch_floor, self.trust.document.epoch)
        if header.epo < floor:
            raise Refused(Code.ENV_EPOCH, f"epoch {header.epo}, known is {floor}")

    def _session_of(self, header: Header) -> _Open:
        if self._open is not None and header.ses == self._open.nonce:
            return self._open
        former = self._former
        if former is not None and former.closed_at is not None and header.ses == former.nonce:
            # What was sent before the hub changed over is honest; nothing new is sent in a session that has ended.
            if header.iat <= former.closed_at + SKEW_S:
                return former
            raise Refused(Code.ENV_SESSION, "sent in a session that had ended")
        raise Refused(Code.ENV_SESSION, "sent in a session that is not ours")

    def _count(self, session: _Open, seq: int) -> bool:
        try:
            session.window, first = session.window.accept(seq)
        except Refused:
            session.is_worn_out = True
            raise
        return first

    def _check_welcome(self, verified: Verified, mono_s: float) -> _Asked:
        header = verified.header
        self._check_sender(header)
        asked = self._asked
        if asked is None or header.ses != asked.nonce:
            # What a former life of ours had asked for was answered before our own first hello was.
            began = self._open
            self.is_doubled = header.ses not in self._said and began is not None and header.iat > began.hub_time + 1
            raise Refused(Code.ENV_SESSION, "it answers no hello of ours")
        if mono_s - asked.mono_s > WELCOME_WITHIN_S:
            raise Refused(Code.ENV_SESSION, f"it came {int(mono_s - asked.mono_s)} s after the hello")
        check_span(header)
        # The welcome brings the time, so its signer's validity is judged by it, but never before our trust began.
        if not verified.signer.is_valid(max(header.iat, self.trust.document.issued)):
            raise Refused(Code.ENV_KEY, "the signer's key is not valid at the time of the welcome")
        return asked

    def _check_welcome_body(self, body: Welcome, asked: _Asked) -> BoxPublicKey:
        if body.nonce != asked.nonce:
            raise Refused(Code.ENV_SESSION, "header and body echo different nonces")
        keys = self.trust.directory()
        document = BoxDocument.open(bytes.fromhex(body.box), keys, body.hub_time, self.identity.hub_id)
        if not document.is_current(body.hub_time):
            raise Refused(Code.TRUST_EXPIRED, "the hub's box key has expired")
        return document.box

    def _begin(self, asked: _Asked, body: Welcome, header: Header) -> None:
        if self._open is not None:
            self._open.closed_at = body.hub_time
            self._former = self._open
        self.identity = replace(self.identity, signing=asked.signing)
        self._open = _Open(asked.nonce, body.hub_nonce, body.hub_time, asked.mono_s, SequenceWindow())
        self._asked = None
        self._epoch_floor = max(self._epoch_floor, header.epo)
        self._named_trust_version = body.trust_version
        self.clock_skew_s = asked.wall_s - body.hub_time

    def _current(self) -> _Open:
        if self._open is None:
            raise Refused(Code.ENV_SESSION, "there is no session yet")
        return self._open

    def _header(
        self,
        made_at: int,
        *,
        ses: str,
        seq: int,
        ttl_s: int,
        cid: str = "",
        re: str = "",
        rh: str = "",
        idx: int = -1,
        cnt: int = -1,
        prev: str = "",
    ) -> Header:
        return Header(
            aud=self.identity.hub_id,
            iss=self.identity.spoke_id,
            mid=self._random(16).hex(),
            cid=cid,
            ses=ses,
            seq=seq,
            epo=max(self._epoch_floor, self.trust.document.epoch),
            iat=made_at,
            exp=made_at + min(ttl_s, TTL_MAX_S),
            re=re,
            rh=rh,
            idx=idx,
            cnt=cnt,
            prev=prev,
        )

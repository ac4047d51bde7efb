"""The one session of this daemon, shared by its threads: seals what goes to the hub, opens what comes from it."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from spokes.agent.acks import Acks
from spokes.agent.mailbox import Mailbox
from spokes.agent.stopping import Stopping
from wire.envelope import MessageType
from wire.keys import BoxKey, BoxPublicKey, SigningKey
from wire.messages import Body, Welcome, kind_of
from wire.session import Received, Sealed, SpokeFacts, SpokeSession
from wire.trust import TrustChain

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.5
_SAYS_IT_RUNS = frozenset({MessageType.LOG, MessageType.RESULT})


class Uplink:
    """Used by all threads; the session itself is for one at a time.

    Args:
        clock: Monotonic seconds.
        wall: UTC seconds, told to the hub and never believed here.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        session: SpokeSession,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._mailbox = mailbox
        self._session = session
        self._clock = clock
        self._wall = wall
        self._lock = threading.Lock()
        self._live = threading.Event()
        self._next_signing: SigningKey | None = None
        self.store_key: Callable[[], None] = _nothing
        """Puts the next signing key in the place of the present one, for good."""
        self.acks = Acks(clock)

    def hello(self, facts: SpokeFacts) -> "Future[None]":
        with self._lock:
            frame = self._session.hello(facts, self._wall(), self._clock(), signing=self._next_signing)
        return self._mailbox.send(MessageType.HELLO, Sealed("", 0, frame))

    def welcome(self, frame: bytes) -> Welcome:
        with self._lock:
            before = self._session.identity.signing
            welcome = self._session.welcome(frame, self._clock())
            if self._session.identity.signing.kid != before.kid:
                # Before anything can be sent under the next key, for then the hub forgets this one.
                self._take_over(before)
        self._live.set()
        return welcome

    def is_doubled(self) -> bool:
        """Whether the last welcome refused was somebody else's, who says hello under our key; said once."""
        with self._lock:
            found, self._session.is_doubled = self._session.is_doubled, False
            return found

    def say_hello_as(self, key: SigningKey | None) -> None:
        """Under which key the next hellos go out, and which takes over with their welcome; None: the present one."""
        with self._lock:
            self._next_signing = key

    def open_with(self, boxes: tuple[BoxKey, ...]) -> None:
        """Other box keys of ours, the newest first."""
        with self._lock:
            self._session.open_with(boxes)

    @property
    def signing(self) -> SigningKey:
        return self._session.identity.signing

    @property
    def boxes(self) -> tuple[BoxKey, ...]:
        """Our box keys, the newest first."""
        return self._session.identity.boxes

    @property
    def hub_id(self) -> str:
        return self._session.identity.hub_id

    def receive(self, frame: bytes) -> Received:
        with self._lock:
            return self._session.receive(frame, self._clock())

    def send(
        self, body: Body, *, cid: str = "", re: str = "", rh: str = "", idx: int = -1, cnt: int = -1, prev: str = ""
    ) -> "Future[None]":
        """Seal and publish; the future is done when the broker has it safe.

        Raises:
            Refused: ENV_SESSION before the first welcome; ENV_TOOBIG, ENV_SCHEMA for a body that nobody would take.
        """
        kind = kind_of(body)
        with self._lock:
            sealed = self._session.seal(kind, body, self._clock(), cid=cid, re=re, rh=rh, idx=idx, cnt=cnt, prev=prev)
        if kind in _SAYS_IT_RUNS:
            self.acks.said(cid)
        return self._mailbox.send(kind, sealed)

    def now(self) -> int:
        """The hub's UTC seconds; Refused(ENV_SESSION) before the first welcome."""
        with self._lock:
            return self._session.time(self._clock())

    def wait_live(self, stopping: Stopping) -> bool:
        """Wait for the first session; False if the daemon leaves before."""
        while not self._live.wait(_LOOK_EVERY_S):
            if stopping.is_set():
                return False
        return True

    @property
    def live(self) -> bool:
        return self._live.is_set()

    @property
    def trust(self) -> TrustChain:
        return self._session.trust

    def believe(self, trust: TrustChain) -> None:
        """Go on with a newer chain, verified and stored."""
        with self._lock:
            self._session.trust = trust

    def seal_to(self, hub_box: BoxPublicKey) -> None:
        """The hub's box key, verified; the next welcome says it anew."""
        with self._lock:
            self._session.hub_box = hub_box

    @property
    def trust_behind(self) -> bool:
        return self._session.trust_behind

    @property
    def hub_box(self) -> BoxPublicKey:
        return self._session.hub_box

    @property
    def spoke_id(self) -> str:
        return self._session.identity.spoke_id

    @property
    def nonce(self) -> str:
        return self._session.nonce

    @property
    def hub_nonce(self) -> str:
        return self._session.hub_nonce

    @property
    def last_seq(self) -> int:
        return self._session.last_seq

    @property
    def clock_skew_s(self) -> int:
        return self._session.clock_skew_s

    @property
    def clock_skew(self) -> bool:
        return self._session.clock_skew

    def _take_over(self, before: SigningKey) -> None:
        try:
            self.store_key()
        except OSError:
            logger.exception("the next signing key could not be stored; the present one stays")
            self._session.sign_with(before)
        self._next_signing = None


def _nothing() -> None:
    """Where keys are never replaced."""

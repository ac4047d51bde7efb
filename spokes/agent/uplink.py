"""The one session of this daemon, shared by its threads: seals what goes to the hub, opens what comes from it."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from spokes.agent.acks import Acks
from spokes.agent.mailbox import Mailbox
from spokes.agent.stopping import Stopping
from wire.envelope import MessageType
from wire.keys import BoxPublicKey
from wire.messages import Body, Welcome, kind_of
from wire.session import Received, Sealed, SpokeFacts, SpokeSession
from wire.trust import TrustChain

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
        self.acks = Acks(clock)

    def hello(self, facts: SpokeFacts) -> "Future[None]":
        with self._lock:
            frame = self._session.hello(facts, self._wall(), self._clock())
        return self._mailbox.send(MessageType.HELLO, Sealed("", 0, frame))

    def welcome(self, frame: bytes) -> Welcome:
        with self._lock:
            welcome = self._session.welcome(frame, self._clock())
        self._live.set()
        return welcome

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

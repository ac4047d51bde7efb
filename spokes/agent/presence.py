"""Says hello until welcomed, and then that this spoke lives: its own thread and pace, whatever the work does."""

import logging
import math
import os
import random
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from config.limits import SpokeLimits
from spokes.agent.uplink import Uplink
from wire.errors import ConnectionLost, Refused
from wire.messages import Heartbeat, Load, Welcome
from wire.session import SpokeFacts

logger = logging.getLogger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_JOBS_NAMED = 500


class Presence:
    """One thread says hello and beats; others tell it what they saw.

    Args:
        facts: Gathered anew for each hello.
        jobs: Ids of what runs now.
        unanswered: Called before a hello that follows one without an answer.
        home: Where the free space is measured.
    """

    def __init__(
        self,
        uplink: Uplink,
        limits: SpokeLimits,
        *,
        facts: Callable[[], SpokeFacts],
        jobs: Callable[[], tuple[str, ...]],
        unanswered: Callable[[], None],
        home: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._uplink = uplink
        self._limits = limits
        self._facts = facts
        self._jobs = jobs
        self._when_unanswered = unanswered
        self._awaits_answer = False
        self._home = home
        self._clock = clock
        self._changed = threading.Condition()
        self._hello_at = clock()
        self._beat_at = math.inf
        self._beat_every_s = 10.0
        self._counter = 0
        self._failures = 0
        self._stopped = False
        self._load = _LoadMeter()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout=2)

    def welcomed(self, welcome: Welcome) -> None:
        """The hub takes the session as live with the first beat that echoes its nonce, so that goes out at once."""
        with self._changed:
            self._failures = 0
            self._awaits_answer = False
            self._beat_every_s = float(welcome.heartbeat_s)
            self._hello_at = self._clock() + self._limits.session_s * random.uniform(0.4, 0.5)  # noqa: S311  Jitter.
        self._beat()
        self._change(beat_at=self._clock() + self._beat_every_s)

    def ask_anew(self) -> None:
        """The session may be lost: say hello soon, but not all spokes at the same moment."""
        with self._changed:
            soon = self._clock() + random.uniform(0, 1.0)  # noqa: S311  Jitter.
            self._hello_at = min(self._hello_at, soon)
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait(max(0.0, min(self._hello_at, self._beat_at) - self._clock()))
                if self._stopped:
                    return
                now = self._clock()
                hello, beat = now >= self._hello_at, now >= self._beat_at
            try:
                if hello:
                    self._say_hello()
                if beat:
                    self._change(beat_at=self._clock() + self._beat_every_s)
                    self._beat()
            except Exception:
                logger.exception("presence failed and goes on")
                self._change(hello_at=self._clock() + self._pause_s())

    def _say_hello(self) -> None:
        wait_s = self._limits.hello_wait_s * random.uniform(0.9, 1.1)  # noqa: S311  Jitter.
        if self._awaits_answer:
            self._when_unanswered()
        self._change(hello_at=self._clock() + wait_s)
        self._uplink.hello(self._facts()).add_done_callback(self._hello_sent)

    def _hello_sent(self, sent: "Future[None]") -> None:
        error = sent.exception()
        self._awaits_answer = error is None
        if error is not None:
            pause_s = self._pause_s()
            logger.info("hello not sent", extra={"why": str(error), "again_in_s": round(pause_s, 1)})
            self._change(hello_at=self._clock() + pause_s)

    def _beat(self) -> None:
        with self._changed:
            self._counter += 1
            counter = self._counter
        jobs = self._jobs()
        beat = Heartbeat(
            hub_nonce=self._uplink.hub_nonce,
            counter=counter,
            last_seq=self._uplink.last_seq,
            load=self._load.measure(self._home, len(jobs)),
            jobs=jobs[:_JOBS_NAMED],
        )
        try:
            self._uplink.send(beat).add_done_callback(self._beat_sent)
        except Refused as refusal:
            logger.warning("heartbeat not sent", extra={"why": str(refusal)})

    def _beat_sent(self, sent: "Future[None]") -> None:
        # A broker that was away may have lost our queue, and the hub may have taken us for dead.
        if isinstance(sent.exception(), ConnectionLost):
            self.ask_anew()

    def _pause_s(self) -> float:
        with self._changed:
            self._failures += 1
            longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(self._failures, 10))
        return random.uniform(_FIRST_PAUSE_S, longest)  # noqa: S311  Jitter.

    def _change(self, *, hello_at: float | None = None, beat_at: float | None = None) -> None:
        with self._changed:
            self._hello_at = self._hello_at if hello_at is None else hello_at
            self._beat_at = self._beat_at if beat_at is None else beat_at
            self._changed.notify_all()


class _LoadMeter:
    """What the machine and this process use, cheaply."""

    def __init__(self) -> None:
        self._page_bytes = os.sysconf("SC_PAGE_SIZE")

    def measure(self, home: Path, jobs: int) -> Load:
        return Load(
            cpu_percent=int(os.getloadavg()[0] * 100 / (os.cpu_count() or 1)),
            memory_mb=self._resident_mb(),
            disk_free_mb=shutil.disk_usage(home).free // (1024 * 1024),
            jobs_running=jobs,
        )

    def _resident_mb(self) -> int:
        try:
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        except (OSError, ValueError, IndexError):
            return 0
        return pages * self._page_bytes // (1024 * 1024)

"""Ships a run's spool to the hub: whole records in order, a window of them unconfirmed, from the confirmed place on."""

import logging
import random
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass

from config.limits import SpokeLimits
from spokes.agent.machine import Seen, Watch
from spokes.agent.spool import Position
from spokes.agent.stopping import Stopping
from spokes.agent.uplink import Uplink
from wire.crash import crash_point
from wire.errors import WireError
from wire.log_body import RECORDS_MAX, pack_records
from wire.messages import Log

logger = logging.getLogger(__name__)

_REMEMBER_EVERY_S = 0.25
_LONGEST_PAUSE_S = 10.0


@dataclass(frozen=True, slots=True)
class _Sent:
    confirmed: "Future[None]"
    after: Position


class LogShipper:
    """One run's; used by one thread. Nothing leaves memory but what the hub's queue has; the spool has all of it."""

    def __init__(self, uplink: Uplink, watch: Watch, cid: str, limits: SpokeLimits, stopping: Stopping) -> None:
        self._uplink = uplink
        self._watch = watch
        self._cid = cid
        self._limits = limits
        self._stopping = stopping
        self._window: deque[_Sent] = deque()
        self._confirmed = self._sent_to = watch.position
        self._remembered_at = 0.0
        self._failures = 0

    @property
    def frame_bytes(self) -> int:
        return min(self._limits.log_frame_bytes, RECORDS_MAX)

    @property
    def idle(self) -> bool:
        return not self._window

    @property
    def held_up(self) -> bool:
        """The last of it was not taken, and nothing since."""
        return self._failures > 0

    def ship(self, seen: Seen) -> None:
        """Send what was read; waits while the window is full, or while there is no session."""
        if not self._uplink.wait_live(self._stopping):
            return
        start, after = self._sent_to, seen.after
        try:
            future = self._uplink.send(
                Log(pack_records(seen.data)),
                cid=self._cid,
                idx=start.records,
                cnt=after.records - start.records,
                prev=start.chain.hex(),
            )
        except WireError as error:
            self._go_back(error)
            return
        self._window.append(_Sent(future, after))
        crash_point("log.sent")
        self._sent_to = after
        self.settle(most=self._limits.log_window - 1)

    def settle(self, most: int | None = None) -> None:
        """Take confirmations in; waits until at most so many are open (None: waits for none)."""
        while self._window and not self._stopping.is_set():
            oldest = self._window[0]
            if not oldest.confirmed.done():
                if most is None or len(self._window) <= most:
                    break
                self._stopping.wait_for_future(oldest.confirmed)
                continue
            error = oldest.confirmed.exception()
            if error is not None:
                self._go_back(error)
                return
            self._window.popleft()
            self._confirmed = oldest.after
            self._failures = 0
        self._remember()

    def remember(self) -> None:
        """Write down how far the confirmations go."""
        self._remembered_at = 0.0
        self._remember()

    def _remember(self) -> None:
        now = time.monotonic()
        if now - self._remembered_at >= _REMEMBER_EVERY_S and self._confirmed.offset:
            self._remembered_at = now
            try:
                self._watch.confirmed(self._confirmed)
                crash_point("log.remembered")
            except OSError as error:
                # After a restart some of it is sent twice, as the same range: no reason to let go of the run.
                logger.warning("place in the log not remembered", extra={"job": self._cid, "why": str(error)})

    def _go_back(self, error: BaseException) -> None:
        """What was not confirmed is read and sent again: the same ranges, so the hub knows them."""
        self._failures += 1
        pause_s = random.uniform(0.1, min(_LONGEST_PAUSE_S, 0.2 * 2**self._failures))  # noqa: S311  Jitter.
        logger.info("log not taken", extra={"job": self._cid, "why": str(error), "again_in_s": round(pause_s, 1)})
        self._window.clear()
        self._watch.go_back(self._confirmed)
        self._sent_to = self._confirmed
        self._stopping.wait(pause_s)

"""Brings results to the hub until each is confirmed: at once when a run ends, again after every failure, and after each
welcome whatever was left over.

The journal hears of it a moment later, many jobs in one commit: until then a run's outcome file says how it ended.
"""

import collections
import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from spokes.agent.errors import JournalFailed
from spokes.agent.journal import End, Entry, Journal
from spokes.agent.results import for_journal, from_journal, without_outputs
from spokes.agent.stopping import Stopping
from spokes.agent.uplink import Uplink
from wire.crash import crash_point
from wire.errors import Code, Refused, WireError
from wire.messages import Result

logger = logging.getLogger(__name__)

_LONGEST_PAUSE_S = 10.0
_SETTLE_AFTER_S = 0.5
_SETTLE_AGAIN_S = 1.0
_ASKED_AGAIN_S = 0.2


class Reporter:
    """Asked by any thread; its own one does what waits.

    Args:
        reported: Called once for each job whose end the hub has safe.
    """

    def __init__(
        self, journal: Journal, uplink: Uplink, stopping: Stopping, *, reported: Callable[[Entry], None]
    ) -> None:
        self._journal = journal
        self._uplink = uplink
        self._stopping = stopping
        self._reported = reported
        self._changed = threading.Condition()
        self._done: collections.deque[Callable[[], None]] = collections.deque()
        self._again_at: dict[str, float] = {}
        self._open: set[str] = set()
        self._log_open: set[str] = set()
        self._confirmed: dict[str, Entry] = {}
        self._failures = 0
        # What the next commit tells the journal: ends of runs, and ends that the hub has.
        self._ends: list[End] = []
        self._told: list[Entry] = []
        self._settle_at: float | None = None
        # Whole results, secret values included, live in memory until the hub has them.
        self._results: dict[str, Result] = {}
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout=2)

    def ended(self, entry: Entry, result: Result, *, has_outcome: bool = False) -> None:
        """A job has ended: send that first, for somebody waits, then store it; soon, if its outcome file is safe.

        It counts as reported when its log is at the hub too: say so with `log_done`.
        """
        with self._changed:
            self._results[entry.cid] = result
            self._open.add(entry.cid)
            self._log_open.add(entry.cid)
        sent = self._publish(entry, result) if self._uplink.live else None
        crash_point("result.sent")
        if has_outcome:
            self._store_soon(entry.cid, result)
        else:
            self._store(entry.cid, result)
        if sent is not None:
            sent.add_done_callback(lambda future: self._settled(entry, future))
            return
        with self._changed:
            self._open.discard(entry.cid)
        self.again(entry.cid)

    def log_done(self, cid: str) -> None:
        with self._changed:
            self._log_open.discard(cid)
            waiting = self._confirmed.pop(cid, None)
            if waiting is not None:
                self._told.append(waiting)
                self._settle_soon()

    def never_started(self, cid: str, result: Result) -> None:
        """It will not run; whoever said so first is right."""
        self._store(cid, result)
        self.again(cid)

    def knows(self, cid: str) -> bool:
        """Whether it has ended, though the journal may not have heard of it yet."""
        with self._changed:
            return cid in self._results

    def again(self, cid: str) -> None:
        """Say how it ended, once more; the journal hears of it first."""
        self._after(cid, 0.0)

    def _run(self) -> None:
        while not self._stopping.is_set():
            with self._changed:
                due = self._due()
                settle = bool(due) or (self._settle_at is not None and self._settle_at <= time.monotonic())
                if not settle and not self._done:
                    self._changed.wait(self._wait_s())
                    continue
                done, self._done = self._done, collections.deque()
            for step in done:
                self._safely(step)
            if settle:
                self._safely(self._settle)
            for cid in due:
                if self._uplink.live:
                    self._report(cid)
                else:
                    self._after(cid, 1.0)
        self._safely(self._settle)

    def _safely(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception:
            logger.exception("reporting failed and goes on")

    def _due(self) -> list[str]:
        now = time.monotonic()
        due = [cid for cid, at in self._again_at.items() if at <= now]
        for cid in due:
            del self._again_at[cid]
        return due

    def _wait_s(self) -> float:
        now = time.monotonic()
        soonest = min((*self._again_at.values(), self._settle_at or now + 1.0))
        return min(1.0, max(0.0, soonest - now))

    def _report(self, cid: str) -> None:
        try:
            entry = self._journal.entry(cid)
            if entry is not None and entry.state.ended:
                self._send(entry)
        except Exception:
            logger.exception("result could not be reported", extra={"job": cid})
            self._failed(cid, "see above")

    def _send(self, entry: Entry) -> None:
        with self._changed:
            if entry.cid in self._open:
                # It is on its way, in answer to an earlier message perhaps.
                self._again_at[entry.cid] = time.monotonic() + _ASKED_AGAIN_S
                return
            self._open.add(entry.cid)
            result = self._results.get(entry.cid)
        sent = self._publish(entry, result or from_journal(entry.result))
        if sent is None:
            self._failed(entry.cid, "it could not be sealed")
            return
        sent.add_done_callback(lambda future: self._settled(entry, future))

    def _publish(self, entry: Entry, result: Result) -> "Future[None] | None":
        try:
            return self._sealed(entry, result)
        except WireError as error:
            logger.warning("result not sealed", extra={"job": entry.cid, "why": str(error)})
            return None

    def _sealed(self, entry: Entry, result: Result) -> "Future[None]":
        try:
            return self._uplink.send(result, cid=entry.cid, re=entry.mid, rh=entry.frame_sha256)
        except Refused as refusal:
            if refusal.code is not Code.ENV_TOOBIG:
                raise
            return self._uplink.send(without_outputs(result), cid=entry.cid, re=entry.mid, rh=entry.frame_sha256)

    def _store(self, cid: str, result: Result) -> None:
        """A full disk is waited for: the row is written sooner or later."""
        while not self._stopping.is_set():
            try:
                self._journal.end(cid, *for_journal(result))
            except JournalFailed as error:
                logger.error("result not stored", extra={"job": cid, "why": str(error)})  # noqa: TRY400  No trace: it says all.
                self._stopping.wait(1.0)
            else:
                return

    def _store_soon(self, cid: str, result: Result) -> None:
        with self._changed:
            self._ends.append(End(cid, *for_journal(result)))
            self._settle_soon()

    def _settle_soon(self) -> None:
        """Held lock; wakes the thread for the first of many."""
        if self._settle_at is None:
            self._settle_at = time.monotonic() + _SETTLE_AFTER_S
            self._changed.notify_all()

    def _settle(self) -> None:
        """Tell the journal what has gathered; a full disk is waited for."""
        with self._changed:
            ends, self._ends = self._ends, []
            told, self._told = self._told, []
            self._settle_at = None
        if not ends and not told:
            return
        try:
            self._journal.settle(ends, [entry.cid for entry in told], int(time.time()))
        except JournalFailed as error:
            logger.error("results not stored", extra={"jobs": len(ends), "why": str(error)})  # noqa: TRY400  No trace: it says all.
            with self._changed:
                self._ends, self._told = ends + self._ends, told + self._told
                self._settle_at = time.monotonic() + _SETTLE_AGAIN_S
            return
        crash_point("result.settled")
        with self._changed:
            for entry in told:
                self._open.discard(entry.cid)
                self._results.pop(entry.cid, None)
            self._failures = 0 if told else self._failures
        for entry in told:
            self._clear(entry)

    def _clear(self, entry: Entry) -> None:
        try:
            self._reported(entry)
        except Exception:
            logger.exception("job not cleared", extra={"job": entry.cid})

    def _settled(self, entry: Entry, future: "Future[None]") -> None:
        """Runs on the carrier's thread, so it only says what is to be done."""
        error = future.exception()
        with self._changed:
            if error is not None:
                self._done.append(lambda: self._failed(entry.cid, str(error)))
                self._changed.notify_all()
            elif entry.cid in self._log_open:
                self._confirmed[entry.cid] = entry
            else:
                self._told.append(entry)
                self._settle_soon()

    def _failed(self, cid: str, why: str) -> None:
        with self._changed:
            self._open.discard(cid)
            self._failures += 1
            longest = min(_LONGEST_PAUSE_S, 0.2 * 2 ** min(self._failures, 10))
        pause_s = random.uniform(0.1, longest)  # noqa: S311  Jitter.
        logger.info("result not taken", extra={"job": cid, "why": why, "again_in_s": round(pause_s, 1)})
        self._after(cid, pause_s)

    def _after(self, cid: str, pause_s: float) -> None:
        with self._changed:
            self._again_at[cid] = time.monotonic() + pause_s
            self._changed.notify_all()

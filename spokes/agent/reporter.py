"""Brings results to the hub until each is confirmed: at once when a run ends, again after every failure, and after each
welcome whatever was left over.
"""

import collections
import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from spokes.agent.errors import JournalFailed
from spokes.agent.journal import Entry, Journal
from spokes.agent.results import for_journal, from_journal, without_outputs
from spokes.agent.stopping import Stopping
from spokes.agent.uplink import Uplink
from wire.errors import Code, Refused, WireError
from wire.messages import Result

logger = logging.getLogger(__name__)

_LONGEST_PAUSE_S = 10.0


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

    def ended(self, entry: Entry, result: Result) -> None:
        """A run has ended: send that first, for somebody waits, then store it (the outcome file is safe already).

        It counts as reported when its log is at the hub too: say so with `log_done`.
        """
        with self._changed:
            self._results[entry.cid] = result
            self._open.add(entry.cid)
            self._log_open.add(entry.cid)
        sent = self._publish(entry, result) if self._uplink.live else None
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
                self._done.append(lambda: self._confirm(waiting))
                self._changed.notify_all()

    def never_started(self, cid: str, result: Result) -> None:
        """It will not run; whoever said so first is right."""
        self._store(cid, result)
        self.again(cid)

    def again(self, cid: str) -> None:
        """Say how it ended, once more."""
        self._after(cid, 0.0)

    def _run(self) -> None:
        while not self._stopping.is_set():
            with self._changed:
                due = self._due()
                if not due and not self._done:
                    self._changed.wait(self._wait_s())
                    continue
                done, self._done = self._done, collections.deque()
            for step in done:
                self._safely(step)
            for cid in due:
                if self._uplink.live:
                    self._report(cid)
                else:
                    self._after(cid, 1.0)

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
        soonest = min(self._again_at.values(), default=time.monotonic() + 1.0)
        return min(1.0, max(0.0, soonest - time.monotonic()))

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

    def _settled(self, entry: Entry, future: "Future[None]") -> None:
        """Runs on the carrier's thread, so it only says what is to be done."""
        error = future.exception()
        step: Callable[[], None] = (
            (lambda: self._confirm(entry)) if error is None else (lambda: self._failed(entry.cid, str(error)))
        )
        with self._changed:
            self._done.append(step)
            self._changed.notify_all()

    def _confirm(self, entry: Entry) -> None:
        with self._changed:
            if entry.cid in self._log_open:
                self._confirmed[entry.cid] = entry
                return
        try:
            self._journal.mark_reported(entry.cid, int(time.time()))
        except JournalFailed as error:
            # Reported once more then: the same result twice is one.
            self._failed(entry.cid, str(error))
            return
        with self._changed:
            self._open.discard(entry.cid)
            self._results.pop(entry.cid, None)
            self._failures = 0
        self._reported(entry)

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

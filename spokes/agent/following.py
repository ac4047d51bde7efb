"""Follows a run to its end: its log goes to the hub while it is written, its result behind it."""

import logging
import time
from collections.abc import Callable

from config.limits import SpokeLimits
from spokes.agent.errors import JournalFailed, MachineUnreachable, SpoolDamaged
from spokes.agent.journal import Entry, Journal, State
from spokes.agent.machine import Seen, Watch
from spokes.agent.reporter import Reporter
from spokes.agent.results import from_journal, outcome_result, plain_result, spool_bytes, unknown_result, was_stopped
from spokes.agent.shipping import LogShipper
from spokes.agent.sites import Site
from spokes.agent.stopping import Stopping
from spokes.agent.uplink import Uplink
from wire.crash import crash_point
from wire.messages import EndState, Result

logger = logging.getLogger(__name__)

LOOK_S = 1.0
# A frame costs the hub a transaction, whether it holds one record or a thousand: the first words of a run go together.
_GATHER_S = 0.02
# Whoever asked to cancel wants to hear of the end, however much was printed before; the log goes on behind the result.
_STOPPED_WAITS_S = 0.5
_NEVER_BEGAN = "nothing of it ran: the spoke was ended as it was about to start this job, and nobody starts it any more"


class Follower:
    """Used by all job threads.

    Args:
        now_ms: UTC milliseconds, the hub's if they are known.
        has_secrets: Told of a job whose outcome names secret values, with the outcome.
    """

    def __init__(
        self,
        journal: Journal,
        uplink: Uplink,
        reporter: Reporter,
        limits: SpokeLimits,
        stopping: Stopping,
        *,
        now_ms: Callable[[], int],
        has_secrets: Callable[[str, bytes], None],
    ) -> None:
        self._journal = journal
        self._uplink = uplink
        self._reporter = reporter
        self._limits = limits
        self._stopping = stopping
        self._now_ms = now_ms
        self._has_secrets = has_secrets

    def follow(self, entry: Entry, site: Site, watch: Watch) -> None:
        """Until the run's end is said and its log is with the hub, or the daemon leaves; closes the watch."""
        shipper = LogShipper(self._uplink, watch, entry.cid, self._limits, self._stopping)
        try:
            result = self._ship_to_the_end(entry, site, watch, shipper)
            if result is None:
                return
            crash_point("run.ended")
            self._reporter.ended(self._newest(entry), result, has_outcome=result.state is not EndState.UNKNOWN)
            if self._ship_the_rest(watch, shipper):
                self._reporter.log_done(entry.cid)
        finally:
            watch.close()

    def _newest(self, entry: Entry) -> Entry:
        """The row as it stands; it names the frame that the result answers."""
        try:
            return self._journal.newest(entry)
        except JournalFailed:
            return entry

    def _ship_to_the_end(self, entry: Entry, site: Site, watch: Watch, shipper: LogShipper) -> Result | None:
        """None if the daemon leaves before."""
        is_told_by = float("inf")
        while not self._stopping.is_set():
            try:
                seen = _gathered(watch, shipper.frame_bytes, LOOK_S if shipper.idle else 0.05)
            except (SpoolDamaged, MachineUnreachable) as error:
                return self._result_without_outcome(entry, watch, str(error))
            if seen.data:
                shipper.ship(seen)
            else:
                shipper.settle()
            if seen.unclaimed and self._was_promised_only(entry):
                return self._never_began(entry)
            if seen.lost:
                known = f"its supervisor ended without a word after {watch.position.records} records of output"
                known += f"; {seen.ended} processes that it had left were ended" if seen.ended else ""
                return self._result_without_outcome(entry, watch, known)
            if seen.outcome is not None and is_told_by == float("inf") and was_stopped(seen.outcome):
                is_told_by = time.monotonic() + _STOPPED_WAITS_S
            if seen.outcome is not None and (_is_sent(seen, shipper) or time.monotonic() >= is_told_by):
                result = self._result_of(entry, site, seen.outcome, watch)
                # A daemon that leaves may have left artifacts behind: the next one brings them.
                return None if self._stopping.is_set() else result
        return None

    def _was_promised_only(self, entry: Entry) -> bool:
        """Nobody saw it run, and no power cut has taken away who claimed its folder."""
        return entry.state in {State.ACCEPTED, State.STARTING} and self._journal.is_of_this_boot(entry.cid)

    def _never_began(self, entry: Entry) -> Result | None:
        """A daemon ended between the promise to start it and the start."""
        if self._stopping.is_set():
            return None
        if entry.result:
            return from_journal(entry.result)
        logger.warning("job was never started", extra={"job": entry.cid})
        return plain_result(EndState.FAILED, _NEVER_BEGAN, at_ms=self._now_ms())

    def _result_without_outcome(self, entry: Entry, watch: Watch, known: str) -> Result | None:
        """What an earlier daemon said stays said; nothing is lost by one that leaves."""
        if self._stopping.is_set():
            return None
        if entry.result:
            return from_journal(entry.result)
        logger.warning("job lost", extra={"job": entry.cid, "known": known})
        return unknown_result(watch.position, known, at_ms=self._now_ms())

    def _result_of(self, entry: Entry, site: Site, outcome: bytes, watch: Watch) -> Result:
        try:
            artifacts = site.artifacts.bring(entry.cid, entry.capability, outcome, self._stopping)
            result = outcome_result(outcome, artifacts)
        except ValueError as error:
            return unknown_result(watch.position, str(error), at_ms=self._now_ms())
        if any(one.secret for one in result.outputs):
            self._has_secrets(entry.cid, outcome)
        return result

    def _ship_the_rest(self, watch: Watch, shipper: LogShipper) -> bool:
        """The result is on its way; what the broker has not confirmed of the log is sent until it has."""
        while not self._stopping.is_set():
            shipper.settle(most=0)
            try:
                seen = watch.read(shipper.frame_bytes, 0)
            except (SpoolDamaged, MachineUnreachable):
                return True
            if seen.data:
                shipper.ship(seen)
            elif seen.cut_off:
                self._stopping.wait(LOOK_S)
            elif shipper.idle:
                shipper.remember()
                return True
        shipper.remember()
        return False


def _gathered(watch: Watch, limit: int, wait_s: float) -> Seen:
    """What is new, and what comes within a moment of it; at once if that is much, or the run's end.

    Raises:
        SpoolDamaged, MachineUnreachable: There is nothing before the damage that is not read yet.
    """
    seen = watch.read(limit, wait_s)
    ends = time.monotonic() + _GATHER_S
    while seen.data and seen.outcome is None and len(seen.data) < limit // 4:
        left_s = ends - time.monotonic()
        if left_s <= 0:
            break
        try:
            more = watch.read(limit - len(seen.data), left_s)
        except (SpoolDamaged, MachineUnreachable):
            break
        # A lost run is said by the next look, when all before it is on its way.
        seen = Seen(seen.data + more.data, more.after, more.outcome, lost=False)
    return seen


def _is_sent(seen: Seen, shipper: LogShipper) -> bool:
    """Whether the result may follow: behind the log, unless the broker takes no log."""
    return not seen.data or shipper.held_up or seen.after.offset >= spool_bytes(seen.outcome or b"")

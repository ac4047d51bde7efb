"""Carries out accepted jobs on a machine: fetch, lay out the folder, start the supervisor, follow it, report its end.

accepted        cancel or expiry here means that nothing ever runs
fetch  ->  job folder  ->  starting  ->  supervisor  ->  running  ->  outcome  ->  reported
from here on the run goes on without us, and is found again by its folder
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from config.limits import SpokeLimits
from spokes.agent.artifacts import ArtifactCourier
from spokes.agent.errors import CannotStart, GatewayUnreachable, JournalFailed, SpoolDamaged
from spokes.agent.job_folder import CANCEL, JOB, OUTCOME, WORK, folder_of, job_file
from spokes.agent.journal import Entry, Journal, State
from spokes.agent.machine import JobRun, Machine, Seen, Watch
from spokes.agent.package_cache import PackageCache
from spokes.agent.reporter import Reporter
from spokes.agent.results import blanked, from_journal, outcome_result, plain_result, spool_bytes, unknown_result
from spokes.agent.runners import Runners
from spokes.agent.shipping import LogShipper
from spokes.agent.stopping import Stopping
from spokes.agent.uplink import Uplink
from spokes.agent.workers import Workers
from wire.errors import Refused
from wire.messages import Command, EndState, PackageRole, Result

logger = logging.getLogger(__name__)

_LOOK_S = 1.0
_LAUNCH_S = 5.0
# A frame costs the hub a transaction, whether it holds one record or a thousand: the first words of a run go together.
_GATHER_S = 0.02
# job.json last: while it is there, the rest may be too.
_NEEDED_BY_THE_RUN = (WORK, CANCEL, "reserve", JOB)


@dataclass(frozen=True, slots=True)
class Parts:
    """What an executor works with beside its machine."""

    journal: Journal
    packages: PackageCache
    runners: Runners
    artifacts: ArtifactCourier
    limits: SpokeLimits


class JobExecutor:
    """Told what to do by the service; works on threads of its own, one a job."""

    def __init__(self, machine: Machine, parts: Parts) -> None:
        self._machine = machine
        self._parts = parts
        self._journal = parts.journal
        self._stopping = Stopping()
        self._slots = Workers(parts.limits.jobs_at_once, "job")
        self._launching = 0
        self._launched = threading.Condition()
        self._lock = threading.Lock()
        self._active: dict[str, str] = {}
        self._blanked: dict[str, bytes] = {}

    def begin(self, uplink: Uplink, *, reported: Callable[[str], None]) -> None:
        """Take up what an earlier daemon left: runs that go on, ends that were not reported."""
        self._uplink = uplink
        self._told = reported
        self._reporter = Reporter(self._journal, uplink, self._stopping, reported=self._clean_up)
        self._parts.runners.check_installed()
        unreported = self._journal.unreported()
        self._clean_up_after_a_kill({entry.cid for entry in unreported})
        for entry in reversed(unreported):
            if entry.state is State.ACCEPTED:
                continue
            if entry.state.ended and not _has_run(entry):
                self._reporter.again(entry.cid)
            else:
                # A run that goes on does not wait for a slot: it has one.
                self._start_thread(entry)
        self._reporter.start()

    def submit(self, entry: Entry, command: Command) -> None:
        """Carry out a job that has just been journaled."""
        self._note(entry.cid, entry.runner)
        self._slots.submit(lambda: self._safely(entry, lambda: self._carry_out(entry, command)))

    def cancel(self, entry: Entry, reason: str) -> None:
        """A job whose cancel stands in the journal: end the run, or make sure that there is none."""
        if entry.state is State.CANCELLED:
            if not entry.result:
                self._reporter.never_started(entry.cid, self._ended(EndState.CANCELLED, reason))
            else:
                self._reporter.again(entry.cid)
        elif entry.state.ended:
            self._reporter.again(entry.cid)
        else:
            self._machine.put(folder_of(entry.cid), [(CANCEL, json.dumps({"reason": reason}).encode())], durable=False)

    def finish_at_once(self, entry: Entry, result: Result) -> None:
        """For a command that is done without a run."""
        self._reporter.ended(entry, result)
        self._reporter.log_done(entry.cid)

    def answer(self, entry: Entry) -> None:
        """Say once more how a job ended."""
        if entry.state.ended:
            self._reporter.again(entry.cid)

    def runners_in_use(self) -> set[str]:
        with self._lock:
            return set(self._active.values())

    @property
    def active(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(self._active)

    def stop(self) -> None:
        """Leave; runs go on, and one that is just being started is started whole."""
        self._stopping.set()
        with self._launched:
            self._launched.wait_for(lambda: self._launching == 0, _LAUNCH_S)
        self._reporter.stop()

    def _start_thread(self, entry: Entry) -> None:
        self._note(entry.cid, entry.runner)
        threading.Thread(
            target=self._safely,
            args=(entry, lambda: self._take_up(entry)),
            name=f"job {entry.cid[:8]}",
            daemon=True,
        ).start()

    def _safely(self, entry: Entry, work: Callable[[], None]) -> None:
        try:
            if not self._stopping.is_set():
                work()
        except JournalFailed:
            logger.exception("job left as it is", extra={"job": entry.cid})
        except Exception:
            logger.exception("job could not be carried out", extra={"job": entry.cid})
            self._give_up(entry)
        finally:
            with self._lock:
                self._active.pop(entry.cid, None)

    def _give_up(self, entry: Entry) -> None:
        """After a fault of our own: honest about what may have run."""
        now = self._journal.entry(entry.cid)
        if now is not None and not now.state.ended and not self._stopping.is_set():
            started = now.state is not State.ACCEPTED
            state = EndState.UNKNOWN if started else EndState.FAILED
            self._reporter.never_started(entry.cid, self._ended(state, "the spoke failed; its log says why"))

    def _carry_out(self, entry: Entry, command: Command) -> None:
        try:
            job = self._prepare(entry, command)
        except (Refused, GatewayUnreachable) as error:
            logger.warning("job not started", extra={"job": entry.cid, "why": str(error)})
            self._reporter.never_started(entry.cid, self._ended(EndState.REFUSED, str(error)))
            return
        if job is None or self._is_over(entry):
            return
        with self._launch():
            watch = self._start(entry, job)
        if watch is not None:
            logger.info("job started", extra={"job": entry.cid})
            self._follow(entry, watch)

    def _start(self, entry: Entry, job: JobRun) -> Watch | None:
        """The one place where a supervisor is started; None if it was not."""
        if not self._may_start(entry):
            return None
        try:
            watch = self._machine.run(job)
        except CannotStart as error:
            self.finish_at_once(entry, self._ended(EndState.FAILED, f"the job could not be started: {error}"))
            return None
        self._mark_running(entry)
        return watch

    def _may_start(self, entry: Entry) -> bool:
        """True for the one caller that may; a journal that takes nothing is waited for until the job expires."""
        while not self._stopping.is_set() and not self._is_over(entry):
            try:
                return self._journal.mark_starting(entry.cid)
            except JournalFailed as error:
                logger.warning("job waits for the journal", extra={"job": entry.cid, "why": str(error)})
                self._stopping.wait(_LOOK_S)
        return False

    def _mark_running(self, entry: Entry) -> None:
        """Only said: a row that stays at `starting` is taken up after a restart all the same."""
        try:
            self._journal.mark_running(entry.cid)
        except JournalFailed as error:
            logger.warning("start not noted", extra={"job": entry.cid, "why": str(error)})

    @contextmanager
    def _launch(self) -> Iterator[None]:
        with self._launched:
            self._launching += 1
        try:
            yield
        finally:
            with self._launched:
                self._launching -= 1
                self._launched.notify_all()

    def _prepare(self, entry: Entry, command: Command) -> JobRun | None:
        """Everything up to the start; None if it is not to be started any more."""
        if not self._wait_until(entry, command.not_before):
            return None
        capability = command.capability
        refs = {role: [ref for ref in command.packages if ref.role is role] for role in PackageRole}
        runner = self._parts.runners.ensure(
            refs[PackageRole.RUNNER][0], self._uplink.trust, self._uplink.now(), capability
        )
        paths = {ref.manifest_id: self._parts.packages.fetch(ref, capability) for ref in refs[PackageRole.PACKAGE]}
        file = job_file(
            entry.cid,
            command.job,
            packages=paths,
            home=self._machine.home,
            limits=command.limits,
            run_as=command.run_as,
        )
        # Not durable: after a power cut it is laid out again, or the run is unknown.
        self._machine.put(folder_of(entry.cid), [file], durable=False)
        line = json.dumps({"secrets": command.secrets, "go": True}).encode() + b"\n"
        return JobRun(entry.cid, runner, line)

    def _wait_until(self, entry: Entry, not_before: int) -> bool:
        while not self._is_over(entry):
            wait_s = not_before - self._uplink.now()
            if wait_s <= 0:
                return True
            if self._stopping.wait(min(wait_s, _LOOK_S)):
                return False
        return False

    def _is_over(self, entry: Entry) -> bool:
        """Nothing starts past its expiry, whatever it waited for; nor after a cancel, which the mark settles."""
        if self._uplink.now() < entry.exp:
            return False
        self._reporter.never_started(entry.cid, self._ended(EndState.EXPIRED, "ENV_EXPIRED: not started in time"))
        return True

    def _take_up(self, entry: Entry) -> None:
        """A run that an earlier daemon started: its folder says how far it is."""
        watch = self._machine.run(JobRun(entry.cid, entry.runner, None))
        logger.info("job taken up again", extra={"job": entry.cid})
        self._mark_running(entry)
        self._follow(entry, watch)

    def _follow(self, entry: Entry, watch: Watch) -> None:
        shipper = LogShipper(self._uplink, watch, entry.cid, self._parts.limits, self._stopping)
        try:
            result = self._ship_to_the_end(entry, watch, shipper)
            if result is None:
                return
            self._reporter.ended(self._newest(entry), result)
            if self._ship_the_rest(watch, shipper):
                self._reporter.log_done(entry.cid)
        finally:
            watch.close()

    def _newest(self, entry: Entry) -> Entry:
        """The row as it stands; it names the frame that the result answers."""
        try:
            return self._journal.entry(entry.cid) or entry
        except JournalFailed:
            return entry

    def _ship_to_the_end(self, entry: Entry, watch: Watch, shipper: LogShipper) -> Result | None:
        """None if the daemon leaves before."""
        while not self._stopping.is_set():
            try:
                seen = _gathered(watch, shipper.frame_bytes, _LOOK_S if shipper.idle else 0.05)
            except SpoolDamaged as error:
                return self._result_without_outcome(entry, watch, str(error))
            if seen.data:
                shipper.ship(seen)
            else:
                shipper.settle()
            if seen.lost:
                known = f"its supervisor ended without a word after {watch.position.records} records of output"
                return self._result_without_outcome(entry, watch, known)
            if seen.outcome is not None and _is_sent(seen, shipper):
                result = self._result_of(entry, seen.outcome, watch)
                # A daemon that leaves may have left artifacts behind: the next one brings them.
                return None if self._stopping.is_set() else result
        return None

    def _result_without_outcome(self, entry: Entry, watch: Watch, known: str) -> Result:
        """What an earlier daemon said stays said."""
        if entry.result:
            return from_journal(entry.result)
        logger.warning("job lost", extra={"job": entry.cid, "known": known})
        return unknown_result(watch.position, known, at_ms=self._now_ms())

    def _result_of(self, entry: Entry, outcome: bytes, watch: Watch) -> Result:
        try:
            artifacts = self._parts.artifacts.bring(entry.cid, entry.capability, outcome, self._stopping)
            result = outcome_result(outcome, artifacts)
        except ValueError as error:
            return unknown_result(watch.position, str(error), at_ms=self._now_ms())
        if any(one.secret for one in result.outputs):
            with self._lock:
                self._blanked[entry.cid] = blanked(outcome)
        return result

    def _ship_the_rest(self, watch: Watch, shipper: LogShipper) -> bool:
        """The result is on its way; what the broker has not confirmed of the log is sent until it has."""
        while not self._stopping.is_set():
            shipper.settle(most=0)
            try:
                seen = watch.read(shipper.frame_bytes, 0)
            except SpoolDamaged:
                return True
            if seen.data:
                shipper.ship(seen)
            elif shipper.idle:
                shipper.remember()
                return True
        shipper.remember()
        return False

    def _clean_up(self, entry: Entry) -> None:
        """The hub has the end: what only the run needed goes, the spool stays some days in case it is asked for."""
        folder = folder_of(entry.cid)
        with self._lock:
            kept = self._blanked.pop(entry.cid, None)
        if kept is not None:
            self._machine.put(folder, [(OUTCOME, kept)], durable=False)
        self._machine.remove([f"{folder}/{name}" for name in _NEEDED_BY_THE_RUN])
        self._told(entry.cid)

    def _clean_up_after_a_kill(self, unreported: set[str]) -> None:
        """A daemon may have died between a report and the cleaning up after it; secret outputs lie in the outcome."""
        for path in self._machine.list("jobs"):
            cid, _, name = path.partition("/")
            if name == OUTCOME and cid not in unreported and self._machine.list(f"jobs/{cid}", [JOB]):
                self._machine.remove([f"jobs/{cid}/{part}" for part in (OUTCOME, *_NEEDED_BY_THE_RUN)])

    def _ended(self, state: EndState, message: str) -> Result:
        return plain_result(state, message, at_ms=self._now_ms())

    def _now_ms(self) -> int:
        try:
            return self._uplink.now() * 1000
        except Refused:
            return int(time.time() * 1000)

    def _note(self, cid: str, runner: str) -> None:
        with self._lock:
            self._active[cid] = runner


def _gathered(watch: Watch, limit: int, wait_s: float) -> Seen:
    """What is new, and what comes within a moment of it; at once if that is much, or the run's end.

    Raises:
        SpoolDamaged: There is nothing before the damage that is not read yet.
    """
    seen = watch.read(limit, wait_s)
    ends = time.monotonic() + _GATHER_S
    while seen.data and seen.outcome is None and len(seen.data) < limit // 4:
        left_s = ends - time.monotonic()
        if left_s <= 0:
            break
        try:
            more = watch.read(limit - len(seen.data), left_s)
        except SpoolDamaged:
            break
        # A lost run is said by the next look, when all before it is on its way.
        seen = Seen(seen.data + more.data, more.after, more.outcome, lost=False)
    return seen


def _is_sent(seen: Seen, shipper: LogShipper) -> bool:
    """Whether the result may follow: behind the log, unless the broker takes no log."""
    return not seen.data or shipper.held_up or seen.after.offset >= spool_bytes(seen.outcome or b"")


def _has_run(entry: Entry) -> bool:
    """Its folder may hold more than its row: values that are secret, and log that the hub does not have yet."""
    result = from_journal(entry.result) if entry.result else None
    return result is not None and (result.started_at > 0 or result.records > 0)

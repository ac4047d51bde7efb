"""Carries out accepted jobs: fetch, lay out the folder, start the supervisor, follow it, report its end.

accepted        cancel or expiry here means that nothing ever runs
fetch  ->  job folder  ->  starting  ->  supervisor  ->  running  ->  outcome  ->  reported
from here on the run goes on without us, and is found again by its folder
"""

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from config.limits import SpokeLimits
from spokes.agent.clearing import Clearing
from spokes.agent.errors import CannotStart, GatewayUnreachable, JournalFailed, MachineUnreachable
from spokes.agent.following import LOOK_S, Follower
from spokes.agent.job_folder import CANCEL, folder_of, job_file
from spokes.agent.journal import Entry, Journal, State
from spokes.agent.kept_commands import KeptCommands
from spokes.agent.launches import Launches
from spokes.agent.machine import JobRun, Watch
from spokes.agent.reporter import Reporter
from spokes.agent.results import from_journal, plain_result, unknown_result
from spokes.agent.sites import Site, Sites
from spokes.agent.spool import Position
from spokes.agent.stopping import Stopping
from spokes.agent.uplink import Uplink
from spokes.agent.workers import Workers
from wire.crash import crash_point
from wire.errors import Refused
from wire.messages import Command, EndState, Op, PackageRole, Result

logger = logging.getLogger(__name__)

_LAUNCH_S = 5.0
_CANCEL_AGAIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What an executor works with beside its sites."""

    journal: Journal
    commands: KeptCommands
    limits: SpokeLimits


class JobExecutor:
    """Told what to do by the service; works on threads of its own, one a job."""

    def __init__(self, sites: Sites, parts: Parts) -> None:
        self._sites = sites
        self._parts = parts
        self._journal = parts.journal
        self._stopping = Stopping()
        self._launches = Launches()
        self._lock = threading.Lock()
        self._slots: dict[str, Workers] = {}
        self._active: dict[str, str] = {}
        # Until their end is reported and cleared up after.
        self._site_of: dict[str, Site] = {}
        # In the journal as starting, and known to us as not started.
        self._not_begun: set[str] = set()
        self._met: list[Site] = []

    def begin(self, uplink: Uplink, *, reported: Callable[[str], None]) -> None:
        """Take up what an earlier daemon left: runs that go on, ends that were not reported."""
        self._uplink = uplink
        self._told = reported
        self._clearing = Clearing(done=reported)
        self._reporter = Reporter(self._journal, uplink, self._stopping, reported=self._clear)
        self._follower = Follower(
            self._journal,
            uplink,
            self._reporter,
            self._parts.limits,
            self._stopping,
            now_ms=self._now_ms,
            has_secrets=self._clearing.has_secrets,
        )
        for site in self._sites.known():
            self._meet(site)
        for entry in reversed(self._journal.unreported()):
            if entry.state is State.ACCEPTED:
                continue
            if entry.state is State.CANCELLED and not entry.result:
                # Written down, and no more than that; a full disk must not hold up the rest.
                threading.Thread(target=self.cancel, args=(entry, "cancelled before it began"), daemon=True).start()
            elif entry.state.ended and not _has_run(entry):
                self._reporter.again(entry.cid)
            else:
                # A run that goes on does not wait for a slot: it has one.
                self._start_thread(entry)
        self._reporter.start()

    def starts_at_once(self, command: Command, ahead: int) -> bool:
        """Whether this job, and so many others before it, would start as soon as they are journaled: nothing to wait
        for and nothing to fetch.
        """
        if command.op is not Op.RUN_JOB or self._sites.keeps_commands or command.not_before > self._uplink.now():
            return False
        if any(ref.role is not PackageRole.RUNNER for ref in command.packages):
            return False
        site = self._sites.of(lambda: command)
        is_at_hand = site.runners.is_at_hand(command.packages[0], self._uplink.trust)
        return is_at_hand and not site.far and self._slots_of(self._sites.place(command)).free > ahead

    def submit(self, entry: Entry, command: Command) -> None:
        """Carry out a job that has just been journaled."""
        self._note(entry.cid, entry.runner)
        slots = self._slots_of(self._sites.place(command))
        if entry.state is not State.STARTING:
            slots.submit(lambda: self._safely(entry, lambda: self._carry_out(entry, command)))
            return
        # A daemon that leaves starts it first: the journal says that it has.
        self._not_begun.add(entry.cid)
        self._launches.begin()
        slots.submit(lambda: self._safely(entry, lambda: self._start_at_once(entry, command), leaving=True))

    def take_up(self, entry: Entry) -> None:
        """A job that is starting or running for all that the journal knows, and that nobody here follows."""
        if self._reporter.knows(entry.cid):
            self._reporter.again(entry.cid)
        elif entry.cid not in self.active:
            self._start_thread(entry)

    def runs(self, entry: Entry) -> bool:
        """Whether it runs still; its end may be known before the journal is told."""
        return entry.state is State.RUNNING and not self._reporter.knows(entry.cid)

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
            self._cancel_run(entry, reason)

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
        self._launches.wait_for_all(_LAUNCH_S)
        self._reporter.stop()

    def _slots_of(self, place: str) -> Workers:
        with self._lock:
            if place not in self._slots:
                self._slots[place] = Workers(self._parts.limits.jobs_at_once, "job")
            return self._slots[place]

    def _start_thread(self, entry: Entry) -> None:
        self._note(entry.cid, entry.runner)
        threading.Thread(
            target=self._safely,
            args=(entry, lambda: self._take_up(entry)),
            name=f"job {entry.cid[:8]}",
            daemon=True,
        ).start()

    def _safely(self, entry: Entry, work: Callable[[], None], *, leaving: bool = False) -> None:
        """`leaving`: also while the daemon leaves."""
        try:
            if leaving or not self._stopping.is_set():
                work()
        except JournalFailed:
            logger.exception("job left as it is", extra={"job": entry.cid})
        except Exception:
            logger.exception("job could not be carried out", extra={"job": entry.cid})
            self._give_up(entry, "the spoke failed; its log says why")
        finally:
            self._not_begun.discard(entry.cid)
            with self._lock:
                self._active.pop(entry.cid, None)

    def _give_up(self, entry: Entry, why: str) -> None:
        """After a fault of our own: honest about what may have run."""
        now = self._journal.entry(entry.cid)
        if now is not None and not now.state.ended and not self._stopping.is_set():
            started = now.state is not State.ACCEPTED and entry.cid not in self._not_begun
            state = EndState.UNKNOWN if started else EndState.FAILED
            self._reporter.never_started(entry.cid, self._ended(state, why))

    def _site(self, cid: str, command: Callable[[], Command]) -> Site:
        site = self._sites.of(command)
        with self._lock:
            return self._site_of.setdefault(cid, site)

    def _meet(self, site: Site) -> None:
        """Once, before the first job there: what was altered or left behind while no daemon looked."""
        with self._lock:
            if site in self._met:
                return
            self._met = [one for one in self._met if one in self._sites.known()] + [site]
        try:
            site.runners.check_installed()
            self._clearing.after_a_kill(site, {entry.cid for entry in self._journal.unreported()})
        except BaseException:
            with self._lock:
                self._met.remove(site)
            raise

    def _carry_out(self, entry: Entry, command: Command) -> None:
        try:
            site = self._site(entry.cid, lambda: command)
            if not self._wait_until(entry, command.not_before) or self._is_cancelled(entry):
                return
            entry, command = self._renewed(entry, command)
            self._meet(site)
            job = self._prepare(entry, self._sites.bare(command), site)
        except (Refused, GatewayUnreachable, MachineUnreachable) as error:
            if not self._stopping.is_set():
                logger.warning("job not started", extra={"job": entry.cid, "why": str(error)})
                self._reporter.never_started(entry.cid, self._ended(EndState.REFUSED, str(error)))
            return
        if self._is_over(entry):
            return
        crash_point("job.prepared")
        with self._launches.one():
            watch = self._start(entry, site, job)
        if watch is not None:
            logger.info("job started", extra={"job": entry.cid})
            self._follower.follow(entry, site, watch)

    def _start_at_once(self, entry: Entry, command: Command) -> None:
        """For a job that was journaled as starting when it came."""
        try:
            site = self._site(entry.cid, lambda: command)
            try:
                job = self._prepare(entry, command, site)
            except (Refused, GatewayUnreachable) as error:
                logger.warning("job not started", extra={"job": entry.cid, "why": str(error)})
                self._reporter.never_started(entry.cid, self._ended(EndState.REFUSED, str(error)))
                return
            if self._is_over(entry):
                return
            self._not_begun.discard(entry.cid)
            watch = self._started(entry, site, job)
        finally:
            self._launches.end()
        if watch is not None:
            logger.info("job started", extra={"job": entry.cid})
            self._follower.follow(entry, site, watch)

    def _start(self, entry: Entry, site: Site, job: JobRun) -> Watch | None:
        """The one place where a supervisor is started; None if it was not."""
        if not self._may_start(entry):
            return None
        crash_point("job.starting")
        return self._started(entry, site, job)

    def _started(self, entry: Entry, site: Site, job: JobRun) -> Watch | None:
        try:
            watch = site.machine.run(job)
        except CannotStart as error:
            self.finish_at_once(entry, self._ended(EndState.FAILED, f"the job could not be started: {error}"))
            return None
        except Refused as refusal:
            self.finish_at_once(entry, self._ended(EndState.REFUSED, str(refusal)))
            return None
        except MachineUnreachable as error:
            # A daemon that leaves lets the next one find out.
            if not self._stopping.is_set():
                known = f"the connection was lost while the job was being started: {error}"
                self.finish_at_once(entry, unknown_result(Position(), known, at_ms=self._now_ms()))
            return None
        crash_point("job.started")
        self._mark_running(entry)
        return watch

    def _may_start(self, entry: Entry) -> bool:
        """True for the one caller that may; a journal that takes nothing is waited for until the job expires."""
        while not self._stopping.is_set() and not self._is_over(entry):
            try:
                return self._journal.mark_starting(entry.cid)
            except JournalFailed as error:
                logger.warning("job waits for the journal", extra={"job": entry.cid, "why": str(error)})
                self._stopping.wait(LOOK_S)
        return False

    def _mark_running(self, entry: Entry) -> None:
        """Only said: a row that stays at `starting` is taken up after a restart all the same."""
        try:
            self._journal.mark_running(entry.cid)
        except JournalFailed as error:
            logger.warning("start not noted", extra={"job": entry.cid, "why": str(error)})

    def _prepare(self, entry: Entry, command: Command, site: Site) -> JobRun:
        """Everything up to the start."""
        capability = command.capability
        refs = {role: [ref for ref in command.packages if ref.role is role] for role in PackageRole}
        runner = site.runners.ensure(refs[PackageRole.RUNNER][0], self._uplink.trust, self._uplink.now(), capability)
        paths = {ref.manifest_id: site.packages.fetch(ref, capability) for ref in refs[PackageRole.PACKAGE]}
        file = job_file(
            entry.cid,
            command.job,
            packages=paths,
            home=site.machine.home,
            limits=command.limits,
            run_as=command.run_as,
        )
        # Not durable: after a power cut it is laid out again, or the run is unknown.
        site.machine.put(folder_of(entry.cid), [file], durable=False)
        line = json.dumps({"secrets": command.secrets, "go": True}).encode() + b"\n"
        return JobRun(entry.cid, runner, line)

    def _wait_until(self, entry: Entry, not_before: int) -> bool:
        while not self._is_over(entry):
            wait_s = not_before - self._uplink.now()
            if wait_s <= 0:
                return True
            if self._stopping.wait(min(wait_s, LOOK_S)):
                return False
        return False

    def _renewed(self, entry: Entry, command: Command) -> tuple[Entry, Command]:
        """The newest frame of it: while it waited for a place, its leave to fetch packages may have run out."""
        if not self._journal.came_again(entry.cid):
            return entry, command
        return self._journal.newest(entry), self._parts.commands.waiting(entry.cid) or command

    def _is_cancelled(self, entry: Entry) -> bool:
        """It waited for a place, and nobody wants it any more: nothing is fetched for it."""
        now = self._journal.entry(entry.cid)
        return now is not None and now.state is not State.ACCEPTED

    def _is_over(self, entry: Entry) -> bool:
        """Nothing starts past its expiry, whatever it waited for; nor after a cancel, which the mark settles."""
        if self._uplink.now() < entry.exp or self._uplink.now() < self._journal.newest(entry).exp:
            return False
        self._reporter.never_started(entry.cid, self._ended(EndState.EXPIRED, "ENV_EXPIRED: not started in time"))
        return True

    def _take_up(self, entry: Entry) -> None:
        """A run that an earlier daemon started: its folder says how far it is."""
        try:
            site = self._site(entry.cid, lambda: self._parts.commands.of(entry.cid))
        except Refused as refusal:
            logger.warning("a run is not found again", extra={"job": entry.cid, "why": str(refusal)})
            self._give_up(entry, f"its command cannot be opened any more, so it is not known where it runs: {refusal}")
            return
        watch = self._started(entry, site, JobRun(entry.cid, entry.runner, None))
        if watch is not None:
            logger.info("job taken up again", extra={"job": entry.cid})
            self._follower.follow(entry, site, watch)

    def _cancel_run(self, entry: Entry, reason: str) -> None:
        try:
            site = self._site(entry.cid, lambda: self._parts.commands.of(entry.cid))
        except Refused as refusal:
            logger.warning("cancel not brought", extra={"job": entry.cid, "why": str(refusal)})
            return
        file = (CANCEL, json.dumps({"reason": reason}).encode())
        if not site.far:
            site.machine.put(folder_of(entry.cid), [file], durable=False)
            crash_point("job.cancel-brought")
            return
        threading.Thread(
            target=self._cancel_far, args=(entry.cid, site, file), name=f"cancel {entry.cid[:8]}", daemon=True
        ).start()

    def _cancel_far(self, cid: str, site: Site, file: tuple[str, bytes]) -> None:
        """Until the machine has it, or nobody waits for it any more."""
        while not self._stopping.is_set() and cid in self.active:
            try:
                site.machine.put(folder_of(cid), [file], durable=False)
            except (MachineUnreachable, OSError) as error:
                logger.warning("cancel not brought", extra={"job": cid, "why": str(error)})
                self._stopping.wait(_CANCEL_AGAIN_S)
            else:
                return

    def _clear(self, entry: Entry) -> None:
        with self._lock:
            site = self._site_of.pop(entry.cid, None)
        if site is None and not self._sites.keeps_commands:
            site = next(iter(self._sites.known()), None)
        if site is None:
            self._told(entry.cid)
        else:
            self._clearing.clear(entry.cid, site)

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


def _has_run(entry: Entry) -> bool:
    """Its folder may hold more than its row: values that are secret, and log that the hub does not have yet."""
    result = from_journal(entry.result) if entry.result else None
    return result is not None and (result.started_at > 0 or result.records > 0)

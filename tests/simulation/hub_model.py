"""The hub as far as promises go: the real `advance` over durable rows, an outbox that sends until it is confirmed, and
an inbox that commits before it acknowledges.

A transaction is one call without a point in it. Rows follow hub/orchestrator/{steering,outbox,replies,sessions}.py.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hub.orchestrator.effects import DropJob, DropTimer, ExpireJob, SendCancel, SendJob, SetJob, SetTimer
from hub.orchestrator.events import (
    CancelAsked,
    Event,
    JobAccepted,
    JobEnded,
    JobExpired,
    JobStarted,
    SpokeRevoked,
    Started,
    TimerFired,
)
from hub.orchestrator.log_records import Columns, Cursor, end_at, follow
from hub.orchestrator.plan import DeploymentPlan
from hub.orchestrator.progress import advance_all
from hub.orchestrator.sendings import CANCEL_LIFE_MS
from hub.orchestrator.standing import beginning
from hub.states import JOB_ENDED, TASK_ENDED, JobState
from tests.simulation.broker_model import Broker, Message
from tests.simulation.frames import Ack, Beat, Command, Hello, Log, Reject, Result, Welcome
from tests.simulation.machine_model import chain_before
from tests.simulation.world import Actor, World

REPUBLISH_MS = 20_000
SILENT_MS = 32_000
HELD_MS = 3_000
LOG_LATE_MS = 60_000
REPUBLISH_MAX = 10
_NOT_BEGUN = frozenset({JobState.SENT, JobState.ACCEPTED})


@dataclass(slots=True)
class Row:
    """Of the outbox."""

    kind: str
    spoke: str
    cid: str
    expires_ms: int
    state: str = "waiting"
    attempts: int = 0
    published_ms: int = 0
    not_before_ms: int = 0
    failures: int = 0


@dataclass(slots=True)
class HubSession:
    """A later one of a spoke has the higher nonce."""

    spoke: str
    nonce: int
    live: bool = False
    replaced: bool = False
    seq: int = 0
    counter: int = 0
    seen_ms: int = 0


@dataclass(slots=True)
class JobRow:
    spoke: str
    state: JobState = JobState.PLANNED
    records: int | None = None
    ended_ms: int = 0
    cursor: Cursor = field(default_factory=Cursor)
    lines: list[int] = field(default_factory=list)
    sent_frames: int = 0


class Hub(Actor):
    """Durable: everything that `forget` leaves."""

    def __init__(self, world: World, broker: Broker, plan: DeploymentPlan) -> None:
        super().__init__(world, "the hub")
        self._broker = broker
        self.plan = plan
        self.progress = beginning(plan)
        self.jobs = {cid: JobRow(job.target.spoke) for step in plan.steps for job in step.jobs for cid in job.attempts}
        self.outbox: list[Row] = []
        self.timers: dict[str, int] = {}
        self.sessions: dict[int, HubSession] = {}
        self.issued: dict[int, tuple[str, str]] = {}
        self.rejected: set[int] = set()
        self.revoked: set[str] = set()
        self.ended_ms = 0
        self._frame_ids = 0
        self.forget()

    def forget(self) -> None:
        self._held: dict[str, tuple[Result, Message, int]] = {}
        self._results: list[tuple[Message, int]] = []
        self._logs: list[tuple[Message, int]] = []
        self._alarm_ms = 0
        self._publishing = False

    def begin(self) -> None:
        for row in self.outbox:
            if row.state == "published":
                row.state = "waiting"
        self._broker.consume("results", self, self._result_came)
        self._broker.consume("logs", self, self._log_came)
        self._wake()
        self._look_at_clock()

    @property
    def is_over(self) -> bool:
        return self.progress.state in TASK_ENDED

    # What people ask

    def start_task(self) -> None:
        self._feed([Started()])

    def cancel(self) -> None:
        self.world.note("somebody cancels")
        self._feed([CancelAsked("somebody")])

    def revoke(self, spoke: str) -> None:
        self.world.note(f"{spoke} is revoked")
        self.revoked.add(spoke)
        self._feed([SpokeRevoked(spoke)])
        self.sessions = {nonce: one for nonce, one in self.sessions.items() if one.spoke != spoke}
        for row in self.outbox:
            if row.spoke == spoke:
                row.state = "dead"

    # One transaction each

    def _feed(self, events: Iterable[Event]) -> None:
        waiting = list(events)
        while waiting:
            self.progress, effects = advance_all(self.plan, self.progress, waiting, self.world.now)
            waiting = self._apply(effects)
        if self.is_over and not self.ended_ms:
            self.ended_ms = self.world.now
            self.world.note(f"the task is {self.progress.state}: {self.progress.failure}")

    def _apply(self, effects: Iterable[Any]) -> list[Event]:
        following: list[Event] = []
        cancels: list[SendCancel] = []
        expired: list[str] = []
        for effect in effects:
            match effect:
                case SetJob(cid, state):
                    self._set_job(cid, state)
                case SendJob(cid, deadline_ms):
                    self.outbox.append(Row("command", self.jobs[cid].spoke, cid, deadline_ms))
                case DropJob(cid):
                    self._settle(cid, "dead", "command")
                case SendCancel():
                    cancels.append(effect)
                case ExpireJob(cid):
                    expired.append(cid)
                case SetTimer(name, due_ms):
                    self.timers[name] = due_ms
                case DropTimer(name):
                    self.timers.pop(name, None)
        for cancel in cancels:
            following += self._send_cancel(cancel)
        for cid in expired:
            self._settle(cid, "dead", "command")
            if self._may_have_been_taken(cid):
                self._add_cancel(cid)
            else:
                following.append(JobExpired(cid))
        self._wake()
        self._look_at_clock()
        return following

    def _set_job(self, cid: str, state: JobState) -> None:
        job = self.jobs[cid]
        job.state = state
        self.world.note(f"job {cid} is {state}")
        if state in JOB_ENDED:
            job.ended_ms = self.world.now
            self._settle(cid, "done")
        elif state in (JobState.ACCEPTED, JobState.RUNNING):
            self._settle(cid, "accepted", "command")

    def _settle(self, cid: str, state: str, kind: str = "") -> None:
        for row in self.outbox:
            if row.cid == cid and row.state not in ("done", "dead") and kind in ("", row.kind):
                row.state = state

    def _send_cancel(self, cancel: SendCancel) -> list[Event]:
        for row in self.outbox:
            if row.cid == cancel.job and row.kind == "command" and row.state == "waiting" and not row.attempts:
                row.state = "dead"
                return [JobEnded(cancel.job, JobState.CANCELLED, None, "it was never sent")]
        self._add_cancel(cancel.job)
        return []

    def _add_cancel(self, cid: str) -> None:
        self.outbox.append(Row("cancel", self.jobs[cid].spoke, cid, self.world.now + CANCEL_LIFE_MS))

    # What goes out

    def _wake(self) -> None:
        if not self._publishing:
            self._publishing = True
            self.after(self.world.chance.randrange(1, 5), self._publish)

    def _publish(self) -> None:
        self._publishing = False
        now = self.world.now
        due: list[tuple[Row, HubSession]] = []
        again_ms = 0
        for row in self.outbox:
            session = self._live_session(row.spoke)
            if row.state == "published" and now > row.published_ms + REPUBLISH_MS * row.attempts:
                row.state = "waiting"
            if row.state == "published":
                again_ms = again_ms or row.published_ms + REPUBLISH_MS * row.attempts + 1
            if row.state != "waiting" or session is None or row.expires_ms <= now:
                continue
            if row.not_before_ms > now:
                again_ms = min(again_ms or row.not_before_ms, row.not_before_ms)
                continue
            due.append((row, session))
        if again_ms:
            self.after(max(1, again_ms - now), self._wake)
        self.point()
        due.sort(key=lambda item: item[0].kind != "cancel")
        for row, frame in [(row, self._sealed(row, session)) for row, session in due]:
            self.point()
            confirmed = partial(self._confirmed, row)
            self._broker.publish(self, f"to {row.spoke}", frame, confirmed, row.expires_ms)

    def _sealed(self, row: Row, session: HubSession) -> Command:
        """Noted before it is sent: hash, number, that it went out."""
        self._frame_ids += 1
        session.seq += 1
        row.state, row.published_ms = "published", self.world.now
        row.attempts += 1
        self.issued[self._frame_ids] = (row.cid, row.spoke)
        self.jobs[row.cid].sent_frames += row.kind == "command"
        return Command(self._frame_ids, row.kind, row.cid, session.nonce, session.seq, row.expires_ms)

    def _confirmed(self, row: Row, taken: bool) -> None:
        if taken or row.state != "published":
            return
        row.failures += 1
        row.state = "waiting"
        row.not_before_ms = self.world.now + min(500 * 2**row.failures, 30_000)
        self._wake()

    def _live_session(self, spoke: str) -> HubSession | None:
        for session in self.sessions.values():
            if session.spoke == spoke and session.live and not session.replaced:
                return session
        return None

    # What comes in

    def _result_came(self, message: Message, connection: int) -> None:
        if not self._results:
            self.after(self.world.chance.randrange(1, 20), self._take_results)
        self._results.append((message, connection))

    def _take_results(self) -> None:
        batch, self._results = self._results, []
        self.point()
        kept: set[Message] = set()
        for message, connection in batch:
            if not self._take(message, connection):
                kept.add(message)
        self.point()
        for message, connection in batch:
            if message not in kept:
                self._broker.ack(message, connection)

    def _take(self, message: Message, connection: int) -> bool:
        body = message.body
        if body.spoke in self.revoked:
            return True
        match body:
            case Hello(spoke, nonce):
                self._hello(spoke, nonce)
            case Beat():
                self._beat(body)
            case Reject():
                self._reject(body)
            case Ack() | Result() if self.issued.get(body.frame) != (body.cid, body.spoke):
                pass
            case Ack(_, cid, _, running):
                self._feed([JobStarted(cid) if running else JobAccepted(cid)])
            case Result():
                return self._result(body, message, connection)
        return True

    def _hello(self, spoke: str, nonce: int) -> None:
        session = self.sessions.setdefault(nonce, HubSession(spoke, nonce))
        if not session.live and not session.replaced:
            self._broker.publish(self, f"to {spoke}", Welcome(nonce), lambda taken: None)

    def _beat(self, beat: Beat) -> None:
        session = self.sessions.get(beat.nonce)
        if session is None or session.replaced or beat.counter <= session.counter:
            return
        session.counter, session.seen_ms = beat.counter, self.world.now
        if session.live:
            return
        self.world.note(f"{session.spoke} is live")
        session.live = True
        for other in self.sessions.values():
            if other.spoke == session.spoke and other.nonce < session.nonce:
                other.live, other.replaced = False, True
        for row in self.outbox:
            if row.spoke == session.spoke and row.state == "published":
                row.state = "waiting"
        self._wake()
        self._look_at_clock()

    def _reject(self, reject: Reject) -> None:
        cid, _ = self.issued.get(reject.frame, ("", ""))
        job = self.jobs.get(cid)
        self.rejected.add(reject.frame)
        session = self.sessions.get(reject.nonce)
        if session is not None:
            session.live = False
        if job is None or job.state is not JobState.SENT:
            return
        if self._may_have_been_taken(cid):
            return
        if job.sent_frames < REPUBLISH_MAX:
            for row in self.outbox:
                if row.cid == cid and row.kind == "command" and row.state == "published":
                    row.state = "waiting"
            self._wake()
            return
        self._feed([JobEnded(cid, JobState.REFUSED, None, reject.code)])

    def _may_have_been_taken(self, cid: str) -> bool:
        """Whether a frame of it is out that was not refused."""
        return any(cid == one and frame not in self.rejected for frame, (one, _) in self.issued.items())

    def _result(self, result: Result, message: Message, connection: int) -> bool:
        job = self.jobs[result.cid]
        if job.state in JOB_ENDED:
            self._settle(result.cid, "done")
            return True
        if job.cursor.next_record < result.records and result.cid not in self._held:
            self._held[result.cid] = (result, message, connection)
            self.after(HELD_MS, self._held_too_long, result.cid)
            return False
        self._count(result)
        return True

    def _count(self, result: Result) -> None:
        self.jobs[result.cid].records = result.records
        self._feed([JobEnded(result.cid, JobState(result.state), result.exit_code, "", result.began)])

    def _held_too_long(self, cid: str) -> None:
        if cid in self._held:
            self._settle_held(cid)

    def _settle_held(self, cid: str) -> None:
        result, message, connection = self._held[cid]
        if self.jobs[cid].state not in JOB_ENDED:
            self._count(result)
        self.point()
        del self._held[cid]
        self._broker.ack(message, connection)

    def _log_came(self, message: Message, connection: int) -> None:
        if not self._logs:
            self.after(self.world.chance.randrange(1, 20), self._take_logs)
        self._logs.append((message, connection))

    def _take_logs(self) -> None:
        batch, self._logs = self._logs, []
        self.point()
        begun: list[Event] = []
        for log in sorted((message.body for message, _ in batch), key=lambda log: (log.cid, log.first)):
            job = self.jobs[log.cid]
            if log.spoke in self.revoked:
                continue
            job.lines += [one.number for one in self._followed(job, log)]
            if job.state in _NOT_BEGUN and log.cid not in self._held:
                begun.append(JobStarted(log.cid))
        self._feed(begun)
        for cid in [cid for cid, held in self._held.items() if self.jobs[cid].cursor.next_record >= held[0].records]:
            self._settle_held(cid)
        self.point()
        for message, connection in batch:
            self._broker.ack(message, connection)

    def _followed(self, job: JobRow, log: Log) -> list[Any]:
        return follow(job.cursor, log.first, log.previous, log.records, self.world.now, Columns())

    # What time does

    def _look_at_clock(self) -> None:
        """Sleep until the next moment at which something is due."""
        now = self.world.now
        moments = list(self.timers.values())
        moments += [one.seen_ms + SILENT_MS for one in self.sessions.values() if one.live]
        moments += [
            job.ended_ms + LOG_LATE_MS
            for job in self.jobs.values()
            if job.records is not None and job.cursor.next_record < job.records
        ]
        if moments:
            wake_ms = max(now + 1, min(moments) + 1)
            if not self._alarm_ms or wake_ms < self._alarm_ms or self._alarm_ms <= now:
                self._alarm_ms = wake_ms
                self.after(wake_ms - now, self._clock_rings)

    def _clock_rings(self) -> None:
        now = self.world.now
        self._alarm_ms = 0
        due = [name for name, due_ms in self.timers.items() if due_ms <= now]
        for name in due:
            del self.timers[name]
        self._feed([TimerFired(name) for name in due])
        for session in self.sessions.values():
            if session.live and session.seen_ms + SILENT_MS <= now:
                session.live = False
        for job in self.jobs.values():
            self._name_missing(job, now)
        self._look_at_clock()

    def _name_missing(self, job: JobRow, now: int) -> None:
        if job.records is not None and job.cursor.next_record < job.records and job.ended_ms + LOG_LATE_MS <= now:
            end_at(job.cursor, job.records, chain_before(job.records), now, Columns())

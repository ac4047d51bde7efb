"""One of the hub's engines as far as promises go: the real `advance` over durable rows, an outbox that sends until it is
confirmed, and an inbox that commits before it acknowledges.

A transaction is one call without a point in it. It follows hub/orchestrator/{steering,outbox,replies,sessions,ahead,
log_fetch}.py; several engines have the same rows.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from hub.orchestrator.effects import DropJob, DropTimer, Effect, ExpireJob, SendCancel, SendJob, SetJob, SetTimer
from hub.orchestrator.events import (
    CancelAsked,
    Event,
    HubRestored,
    JobAccepted,
    JobEnded,
    JobExpired,
    JobRenewed,
    JobStarted,
    SpokeRevoked,
    Started,
    TimerFired,
)
from hub.orchestrator.log_records import Columns, end_at, follow
from hub.orchestrator.missing_logs import ATTEMPTS_MAX
from hub.orchestrator.progress import advance_all
from hub.orchestrator.sendings import CANCEL_LIFE_MS
from hub.orchestrator.states import OPEN_JOBS
from hub.states import JOB_ENDED, JobState, TaskState
from tests.simulation.broker_model import Broker, Message
from tests.simulation.frames import Ack, Beat, Call, Command, Hello, Log, Reject, Result, Welcome
from tests.simulation.hub_rows import Fetch, HubSession, JobRow, Row, Rows
from tests.simulation.machine_model import chain_before
from tests.simulation.world import Actor, World

REPUBLISH_MS = 20_000
SILENT_MS = 32_000
SKEW_MS = 120_000
HELD_MS = 3_000
EARLY_MS = 2_000
LOG_GAP_MS = 5_000
LOG_LATE_MS = 60_000
FETCH_LIFE_MS = 24 * 3_600_000
FETCH_PATIENCE_MS = 15 * 60_000
FETCH_AGAIN_MS = 30_000
COMMAND_TTL_MS = 900_000
OTHERS_LOOK_MS = 1_000
REPUBLISH_MAX = 10
SEAL_ANEW = frozenset({"ENV_SESSION", "ENV_EXPIRED", "ENV_FUTURE", "ENV_EPOCH"})
_NOT_BEGUN = frozenset({JobState.SENT, JobState.ACCEPTED})


class Hub(Actor):
    """Durable: the rows."""

    def __init__(self, world: World, broker: Broker, rows: Rows, name: str = "the hub") -> None:
        super().__init__(world, name)
        self._broker = broker
        self.rows = rows
        self.others: list[Hub] = []
        self.forget()

    def forget(self) -> None:
        self._held: dict[str, tuple[Result, Message, int]] = {}
        self._early: dict[Message, int] = {}
        self._results: list[tuple[Message, int]] = []
        self._logs: list[tuple[Message, int]] = []
        self._alarm_ms = 0
        self._publishing = False
        self._called: set[int] = set()
        self._latest = 0

    def crash(self) -> None:
        super().crash()
        self._broker.gone(self)

    def begin(self) -> None:
        seen_ms = max((one.seen_ms for one in self.rows.sessions.values()), default=0)
        self._latest = max(self.rows.skew_ms, seen_ms - self.world.now)
        for row in self.rows.outbox:
            if row.state == "published" and row.kind != "call":
                row.state = "waiting"
        self._broker.consume("results", self, self._result_came)
        self._broker.consume("logs", self, self._log_came)
        self._wake()
        self._look_at_clock()

    @property
    def clock(self) -> int:
        """Its wall clock, which may be wrong."""
        return self.world.now + self.rows.skew_ms

    # What people ask

    def start_task(self) -> None:
        self._feed([Started()])

    def cancel(self) -> None:
        self.world.note("somebody cancels")
        self._feed([CancelAsked("somebody")])

    def revoke(self, spoke: str) -> None:
        self.world.note(f"{spoke} is revoked")
        self.rows.revoked.add(spoke)
        self._feed([SpokeRevoked(spoke)])
        self.rows.sessions = {nonce: one for nonce, one in self.rows.sessions.items() if one.spoke != spoke}
        for row in self.rows.outbox:
            if row.spoke == spoke:
                row.state = "dead"

    def restored(self) -> None:
        """The rows were put back; every task that had not ended is told."""
        self._feed([HubRestored("the hub was restored")])

    # One transaction each

    def _feed(self, events: Iterable[Event]) -> None:
        rows, waiting = self.rows, list(events)
        while waiting:
            waiting = self._apply(self._advance(waiting))
        if rows.is_over and not rows.ended_ms:
            rows.ended_ms = self.world.now
            self.world.note(f"the task is {rows.progress.state}: {rows.progress.failure}")

    def _advance(self, events: Sequence[Event]) -> Sequence[Effect]:
        rows = self.rows
        rows.progress, effects = advance_all(rows.plan, rows.progress, events, self.clock)
        return effects

    def _apply(self, effects: Iterable[Any]) -> list[Event]:
        following: list[Event] = []
        cancels: list[SendCancel] = []
        expired: list[str] = []
        for effect in effects:
            match effect:
                case SetJob(cid, state):
                    self._set_job(cid, state)
                case SendJob(cid, deadline_ms):
                    life_ms = min(COMMAND_TTL_MS, deadline_ms - self.clock)
                    spoke = self.rows.jobs[cid].spoke
                    self.rows.outbox.append(Row("command", spoke, cid, deadline_ms, life_ms=life_ms))
                case DropJob(cid):
                    self._settle(cid, "dead", "command")
                case SendCancel():
                    cancels.append(effect)
                case ExpireJob(cid):
                    expired.append(cid)
                case SetTimer(name, due_ms):
                    self.rows.timers[name] = due_ms
                case DropTimer(name):
                    self.rows.timers.pop(name, None)
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
        job = self.rows.jobs[cid]
        job.state = state
        self.world.note(f"job {cid} is {state}")
        if state in JOB_ENDED:
            job.ended_ms = self.clock
            self._settle(cid, "done")
        elif state in (JobState.ACCEPTED, JobState.RUNNING):
            self._settle(cid, "accepted", "command")

    def _settle(self, cid: str, state: str, kind: str = "") -> None:
        for row in list(self.rows.unsettled(cid, kind)):
            row.state = state

    def _send_cancel(self, cancel: SendCancel) -> list[Event]:
        for row in self.rows.outbox:
            if row.cid == cancel.job and row.kind == "command" and row.state == "waiting" and not row.attempts:
                row.state = "dead"
                return [JobEnded(cancel.job, JobState.CANCELLED, None, "it was never sent")]
        self._add_cancel(cancel.job)
        return []

    def _add_cancel(self, cid: str) -> None:
        self.rows.outbox.append(Row("cancel", self.rows.jobs[cid].spoke, cid, self.clock + CANCEL_LIFE_MS))

    # What goes out

    def _wake(self) -> None:
        if not self._publishing:
            self._publishing = True
            self.after(self.world.chance.randrange(1, 5), self._publish)
            for other in self.others:
                other.look_soon()

    def look_soon(self) -> None:
        """Another engine has written something; we look now and then."""
        if self.is_up and not self._publishing:
            self._publishing = True
            self.after(self.world.chance.randrange(1, OTHERS_LOOK_MS), self._publish)
            self._look_at_clock()

    def _publish(self) -> None:
        """What is due is looked up first; what changed until it is noted does not go."""
        self._publishing = False
        due = self._due()
        self.point()
        if self.others and due:
            self.after(self.world.chance.randrange(1, 20), self._note_and_send, due)
        else:
            self._note_and_send(due)

    def _due(self) -> list[tuple[Row, HubSession, int]]:
        now, again_ms = self.clock, 0
        due: list[tuple[Row, HubSession, int]] = []
        for row in self.rows.outbox:
            if row.state in ("done", "dead", "accepted"):
                continue
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
            due.append((row, session, session.seq))
        if again_ms:
            self.after(max(1, again_ms - now), self._wake)
        due.sort(key=lambda item: item[0].kind != "cancel")
        return due

    def _note_and_send(self, due: list[tuple[Row, HubSession, int]]) -> None:
        moved = {id(session): session.seq for _, session, _ in due}
        frames: list[tuple[Row, Command]] = []
        for row, session, seq in due:
            # Another engine may have sent it, or used the session's number: then it goes with the next look.
            if row.state == "waiting" and moved[id(session)] == seq:
                frames.append((row, self._sealed(row, session)))
            else:
                self._wake()
        for row, frame in frames:
            self.point()
            confirmed = partial(self._confirmed, row)
            self._broker.publish(
                self, f"to {row.spoke}", frame, confirmed, expires_ms=frame.expires_ms - self.rows.skew_ms
            )

    def _sealed(self, row: Row, session: HubSession) -> Command:
        """Noted before it is sent: hash, number, that it went out."""
        rows, frame = self.rows, self.rows.next_frame()
        session.seq += 1
        row.state, row.published_ms = "published", self.clock
        row.attempts += 1
        rows.issued[frame] = (row.cid, row.spoke)
        if row.kind == "command":
            rows.jobs[row.cid].sent_frames += 1
        expires_ms = min(row.expires_ms, self.clock + COMMAND_TTL_MS)
        return Command(
            frame, row.kind, row.cid, session.nonce, session.seq, self.clock, expires_ms, rows.epoch, row.about
        )

    def _confirmed(self, row: Row, taken: bool) -> None:
        if taken or row.state != "published":
            return
        row.failures += 1
        row.state = "waiting"
        row.not_before_ms = self.clock + min(500 * 2**row.failures, 30_000)
        self._wake()

    def _live_session(self, spoke: str) -> HubSession | None:
        for session in self.rows.sessions.values():
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
        if body.spoke in self.rows.revoked or (self._is_early(message) and not isinstance(body, Hello)):
            return True
        match body:
            case Hello():
                self._hello(body)
            case Beat():
                self._beat(body)
            case Reject():
                self._reject(body)
            case Ack() | Result() if not self._is_bound(body):
                pass
            case Ack() if body.cid not in self.rows.jobs:
                self._settle(body.cid, "accepted")
            case Ack(_, cid, _, running):
                self._feed([JobStarted(cid) if running else JobAccepted(cid)])
            case Result() if body.cid not in self.rows.jobs:
                self._answered(body)
            case Result():
                return self._result(body, message, connection)
        return True

    def _is_early(self, message: Message) -> bool:
        """Made later than now, by the clock that its spoke was told; to this end our own never goes back."""
        self._latest = max(self._latest, self.rows.skew_ms)
        return message.stamp_ms > self.world.now + self._latest + SKEW_MS

    def _is_bound(self, body: Ack | Result) -> bool:
        """To a frame that was issued for it, or to one of the time that was forgotten."""
        if body.frame not in self.rows.issued:
            return self.rows.was_restored and body.cid in self.rows.jobs
        return self.rows.issued[body.frame] == (body.cid, body.spoke)

    def _hello(self, hello: Hello) -> None:
        session = self.rows.sessions.setdefault(hello.nonce, HubSession(hello.spoke, hello.nonce, hello.reports))
        if not session.live and not session.replaced:
            welcome = Welcome(hello.nonce, self.clock, self.rows.epoch)
            self._broker.publish(self, f"to {hello.spoke}", welcome, lambda taken: None)

    def _beat(self, beat: Beat) -> None:
        session = self.rows.sessions.get(beat.nonce)
        if session is None and beat.nonce not in self._called:
            self._called.add(beat.nonce)
            call = Call(beat.nonce, self.rows.epoch)
            self._broker.publish(self, f"to {beat.spoke}", call, lambda taken: None)
        if session is None or session.replaced or beat.counter <= session.counter:
            return
        session.counter, session.seen_ms = beat.counter, self.clock
        if session.live:
            return
        self.world.note(f"{session.spoke} is live")
        session.live = True
        for other in self.rows.sessions.values():
            if other.spoke == session.spoke and other.nonce < session.nonce:
                other.live, other.replaced = False, True
        for row in self.rows.outbox:
            if row.spoke == session.spoke and row.state == "published":
                row.state = "waiting"
        if self.rows.was_restored:
            self._ask_about_the_forgotten(session)
        self._wake()
        self._look_at_clock()

    def _ask_about_the_forgotten(self, session: HubSession) -> None:
        """What it has goes on; of all else it is asked, by a cancel, what became of it."""
        alive = dict(session.reports)
        for cid, job in list(self.rows.jobs.items()):
            if job.spoke != session.spoke or job.state not in OPEN_JOBS:
                continue
            if cid in alive:
                self._feed([JobStarted(cid) if alive[cid] == "running" else JobAccepted(cid)])
            elif not any(row.state in ("waiting", "published") for row in self.rows.unsettled(cid, "cancel")):
                self._add_cancel(cid)

    def _reject(self, reject: Reject) -> None:
        if reject.frame not in self.rows.issued:
            return
        cid, _ = self.rows.issued[reject.frame]
        job = self.rows.jobs.get(cid)
        self.rows.rejected.add(reject.frame)
        session = self.rows.sessions.get(reject.nonce)
        if session is not None:
            session.live = False
        if job is None or job.state is not JobState.SENT:
            return
        if self._may_have_been_taken(cid):
            return
        if reject.code in SEAL_ANEW and job.sent_frames < REPUBLISH_MAX:
            for row in self.rows.outbox:
                if row.cid == cid and row.kind == "command" and row.state == "published":
                    row.state = "waiting"
            self._wake()
            return
        self._feed([JobEnded(cid, JobState.REFUSED, None, reject.code)])

    def _may_have_been_taken(self, cid: str) -> bool:
        """Whether a frame of it is out that was not refused."""
        rows = self.rows
        return any(cid == one and frame not in rows.rejected for frame, (one, _) in rows.issued.items())

    def _result(self, result: Result, message: Message, connection: int) -> bool:
        job = self.rows.jobs[result.cid]
        if job.state in JOB_ENDED:
            self._settle(result.cid, "done")
            if job.records is None:
                self._name_end(result)
            return True
        if job.cursor.next_record < result.records and result.cid not in self._held:
            self._held[result.cid] = (result, message, connection)
            self.after(HELD_MS, self._held_too_long, result.cid)
            return False
        self._count(result)
        return True

    def _count(self, result: Result) -> None:
        self._name_end(result)
        self._feed([JobEnded(result.cid, JobState(result.state), result.exit_code, "", result.began)])

    def _name_end(self, result: Result) -> None:
        job = self.rows.jobs[result.cid]
        job.records = result.records
        if job.cursor.next_record < result.records:
            self._look_at_log(result.cid, LOG_LATE_MS, ended=True)

    def _held_too_long(self, cid: str) -> None:
        if cid in self._held:
            self._settle_held(cid)

    def _settle_held(self, cid: str) -> None:
        result, message, connection = self._held[cid]
        if self.rows.jobs[cid].state not in JOB_ENDED:
            self._count(result)
        self.point()
        del self._held[cid]
        self._broker.ack(message, connection)

    # Logs

    def _log_came(self, message: Message, connection: int) -> None:
        if not self._logs:
            self.after(self.world.chance.randrange(1, 20), self._take_logs)
        self._logs.append((message, connection))

    def _take_logs(self) -> None:
        batch, self._logs = self._logs, []
        self.point()
        waiting = self._take_in_order(batch)
        for cid in [cid for cid, held in self._held.items() if self._is_in(cid, held[0])]:
            self._settle_held(cid)
        self.point()
        for message, connection in batch:
            if message not in waiting:
                self._early.pop(message, None)
                self._broker.ack(message, connection)
        if waiting:
            if not self._logs:
                self.after(200, self._take_logs)
            self._logs += [(message, connection) for message, connection in batch if message in waiting]

    def _is_in(self, cid: str, result: Result) -> bool:
        return self.rows.jobs[cid].cursor.next_record >= result.records

    def _take_in_order(self, batch: Iterable[tuple[Message, int]]) -> set[Message]:
        """Those that are ahead of something wait for a moment."""
        begun: list[Event] = []
        waiting: set[Message] = set()
        for message in sorted((message for message, _ in batch), key=lambda one: (one.body.cid, one.body.first)):
            log = message.body
            job = self.rows.jobs[log.cid]
            if log.spoke in self.rows.revoked or self._is_early(message):
                continue
            if log.first > job.cursor.next_record:
                until = self._early.setdefault(message, self.world.now + EARLY_MS)
                if self.world.now < until:
                    waiting.add(message)
                    continue
            job.lines += [one.number for one in self._followed(job, log)]
            if job.cursor.gaps:
                self._look_at_log(log.cid, LOG_GAP_MS)
            if job.state in _NOT_BEGUN and log.cid not in self._held:
                begun.append(JobStarted(log.cid))
        self._feed(begun)
        return waiting

    def _followed(self, job: JobRow, log: Log) -> list[Any]:
        return follow(job.cursor, log.first, log.previous, log.records, self.clock, Columns())

    def _look_at_log(self, cid: str, wait_ms: int, *, ended: bool = False) -> None:
        fetch = self.rows.fetches.get(cid)
        if fetch is None:
            self.rows.fetches[cid] = Fetch(self.clock + wait_ms, self.clock + FETCH_LIFE_MS)
        elif fetch.state == "done" or (ended and fetch.state == "given up"):
            fetch.state, fetch.due_ms = "open", self.clock + wait_ms
        self._look_at_clock()

    def _answered(self, result: Result) -> None:
        self._settle(result.cid, "done")
        for fetch in self.rows.fetches.values():
            if fetch.asked == result.cid:
                fetch.asked = ""
                fetch.due_ms = self.clock + (FETCH_AGAIN_MS if result.state == "failed" else LOG_GAP_MS)
                if result.state == "refused":
                    fetch.attempts = ATTEMPTS_MAX
        self._look_at_clock()

    def _fetch(self, cid: str, fetch: Fetch) -> None:
        job, now = self.rows.jobs[cid], self.clock
        if job.records is not None:
            end_at(job.cursor, job.records, chain_before(job.records), now, Columns())
        if not job.cursor.gaps:
            fetch.state, fetch.asked = "done", ""
        elif fetch.asked and self._is_open(fetch.asked) and fetch.deadline_ms > now:
            fetch.due_ms = now + LOG_GAP_MS
        elif fetch.attempts >= ATTEMPTS_MAX or fetch.deadline_ms <= now or job.spoke in self.rows.revoked:
            fetch.state, fetch.asked = "given up", ""
        else:
            fetch.asked, fetch.attempts, fetch.due_ms = self.rows.next_order(), fetch.attempts + 1, now + LOG_GAP_MS
            about = (cid, tuple(gap.span for gap in job.cursor.gaps))
            self.rows.outbox.append(Row("order", job.spoke, fetch.asked, fetch.deadline_ms, about=about))
            self._wake()

    def _is_open(self, order: str) -> bool:
        return any(
            row.state != "accepted" or row.published_ms > self.clock - FETCH_PATIENCE_MS
            for row in self.rows.unsettled(order)
        )

    # What time does

    def _look_at_clock(self) -> None:
        """Sleep until the next moment at which something is due."""
        now = self.clock
        moments = list(self.rows.timers.values())
        moments += [one.seen_ms + SILENT_MS for one in self.rows.sessions.values() if one.live]
        moments += [one.due_ms for one in self.rows.fetches.values() if one.state == "open"]
        moments += [row.published_ms + row.life_ms // 2 for row in self._renewable()]
        if moments:
            wake_ms = max(now + 1, min(moments) + 1)
            if not self._alarm_ms or wake_ms < self._alarm_ms or self._alarm_ms <= now:
                self._alarm_ms = wake_ms
                self.after(wake_ms - now, self._clock_rings)

    def _renewable(self) -> Iterator[Row]:
        """Commands that were taken and not begun, by spokes that are there."""
        rows = self.rows
        if rows.progress.state is not TaskState.RUNNING:
            return
        for row in rows.outbox:
            is_taken = row.kind == "command" and row.state == "accepted"
            if is_taken and rows.jobs[row.cid].state is JobState.ACCEPTED and self._live_session(row.spoke):
                yield row

    def clock_was_set(self) -> None:
        self._alarm_ms = 0
        self._look_at_clock()
        self._wake()

    def _clock_rings(self) -> None:
        now, rows = self.clock, self.rows
        self._alarm_ms = 0
        due = [name for name, due_ms in rows.timers.items() if due_ms <= now]
        for name in due:
            del rows.timers[name]
        self._feed([TimerFired(name) for name in due])
        for session in rows.sessions.values():
            if session.live and session.seen_ms + SILENT_MS <= now:
                session.live = False
        for row in list(self._renewable()):
            if row.published_ms + row.life_ms // 2 <= now:
                # It keeps its attempts: a cancel must not take it for one that never went out.
                row.state, row.expires_ms = "waiting", now + row.life_ms
                self._feed([JobRenewed(row.cid)])
        for cid, fetch in list(rows.fetches.items()):
            if fetch.state == "open" and fetch.due_ms <= now:
                self._fetch(cid, fetch)
        self._look_at_clock()

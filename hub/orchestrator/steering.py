"""Events in, one transaction, effects out: the shell around `advance`.

    feed(task, events)  ->  plan + progress  ->  advance  ->  progress, outbox, jobs, timers, log, task, audit

All of it happens in the caller's `write_tx`; what must be woken is woken after the commit.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hub.events.record import SYSTEM, record
from hub.orchestrator import task_log
from hub.orchestrator.effects import (
    DropJob,
    DropTimer,
    Effect,
    Level,
    Say,
    SendCancel,
    SendJob,
    SetJob,
    SetStep,
    SetTask,
    SetTimer,
    SkipJobs,
)
from hub.orchestrator.events import QUEUE_TIMER, Event, JobEnded, Started
from hub.orchestrator.job_rows import update_jobs
from hub.orchestrator.plan import DeploymentPlan
from hub.orchestrator.progress import advance_all
from hub.orchestrator.standing import Progress, beginning
from hub.orchestrator.task_store import TaskStore
from hub.states import JOB_ENDED, TASK_ENDED, JobState, OutboxKind, OutboxState, TaskKind, TaskState
from hub.storage.database import current_transaction, is_postgres
from hub.storage.models import Job, Outbox, Task, Timer, new_row_id
from hub.storage.vault import Vault

QUEUED_MAX_MS = 24 * 3600 * 1000
CANCEL_LIFE_MS = 24 * 3600 * 1000
_ROWS_A_STATEMENT = 200

Columns = dict[str, Any]


@dataclass(slots=True)
class _Turned:
    """The effects of one `advance`, sorted by what they touch."""

    task: str
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    sends: list[SendJob] = field(default_factory=list)
    cancels: list[SendCancel] = field(default_factory=list)
    drops: list[str] = field(default_factory=list)
    timers: dict[str, int | None] = field(default_factory=dict)
    says: list[Say] = field(default_factory=list)
    skips: list[int] = field(default_factory=list)
    states: list[SetTask] = field(default_factory=list)


class Steering:
    """Feeds tasks; one for a process."""

    def __init__(self, vault: Vault, store: TaskStore, clock_ms: Callable[[], int], wake: Callable[[], None]) -> None:
        """`wake` is called after a commit that put something into the outbox."""
        self._vault = vault
        self._store = store
        self._clock_ms = clock_ms
        self._wake = wake

    def begin(self, task: Task, plan: DeploymentPlan) -> None:
        """Store a fresh task's plan and jobs, then give it its turn, or a place in the queue behind its like."""
        self._store.add(plan, beginning(plan))
        rows = [_job_row(plan, job.id, self._clock_ms()) for step in plan.steps for job in step.jobs]
        for start in range(0, len(rows), _ROWS_A_STATEMENT):
            Job.insert_many(rows[start : start + _ROWS_A_STATEMENT]).execute()
        _hold_queue(task)
        before = _ahead_of(task)
        if before is None:
            self.feed({task.id: [Started()]})
            return
        words = f"waits for {before.title}: one deployment of a project to an environment at a time"
        Task.update(waiting_for=words).where(Task.id == task.id).execute()
        self._set_timers(task.id, {QUEUE_TIMER: self._clock_ms() + QUEUED_MAX_MS})

    def feed(self, events: Mapping[str, Sequence[Event]], columns: Mapping[str, Columns] | None = None) -> None:
        """Apply events to their tasks, in the order of the tasks' ids; inside `write_tx`.

        Args:
            events: By task, in the order in which they happened.
            columns: More columns of a job's row, written with its next state if the events change it.
        """
        waiting = {task: list(found) for task, found in events.items() if found}
        while waiting:
            following: dict[str, list[Event]] = {}
            for task in sorted(waiting):
                for next_task, event in self._feed_one(task, waiting[task], columns or {}):
                    following.setdefault(next_task, []).append(event)
            waiting = following

    def _feed_one(self, task: str, events: Iterable[Event], columns: Mapping[str, Columns]) -> list[tuple[str, Event]]:
        plan, found = self._store.plan(task), self._store.progress(task)
        if plan is None or found is None:
            return []
        version, before = found
        now_ms = self._clock_ms()
        progress, effects = advance_all(plan, before, events, now_ms)
        if not effects and progress == before:
            return []
        self._store.save(task, version, progress)
        transaction = current_transaction()
        transaction.after_commit.append(lambda: self._store.saved(task, version, progress))
        turned = _sorted(task, effects, now_ms)
        for cid in turned.jobs.keys() & columns.keys():
            turned.jobs[cid].update(columns[cid])
        return self._apply(plan, before, progress, turned, now_ms)

    def _apply(
        self, plan: DeploymentPlan, before: Progress, progress: Progress, turned: _Turned, now_ms: int
    ) -> list[tuple[str, Event]]:
        self._write_jobs(plan, turned, now_ms)
        self._write_outbox(plan, turned, now_ms)
        following = self._cancel(plan, turned.cancels, now_ms)
        self._set_timers(turned.task, turned.timers)
        self._say(turned, now_ms)
        if turned.states:
            self._write_task(turned.task, turned.states[-1], now_ms)
        if progress.state in TASK_ENDED and before.state not in TASK_ENDED:
            following += self._ended(turned.task, turned.states[-1])
        return following

    def _write_jobs(self, plan: DeploymentPlan, turned: _Turned, now_ms: int) -> None:
        again = [send.job for send in turned.sends if plan.attempts[send.job][1] > 1]
        if again:
            Job.insert_many([_job_row(plan, cid, now_ms) for cid in again]).execute()
        alike: dict[tuple[tuple[str, Any], ...], list[str]] = {}
        for cid, columns in turned.jobs.items():
            alike.setdefault(tuple(sorted(columns.items())), []).append(cid)
        single: dict[str, Columns] = {}
        for values, cids in alike.items():
            if len(cids) == 1:
                single[cids[0]] = dict(values)
                continue
            for part in _parts(cids):
                Job.update(dict(values)).where(Job.id.in_(part)).execute()
        update_jobs(single)
        if turned.skips:
            Job.update(state=JobState.SKIPPED).where(
                Job.task == turned.task, Job.state == JobState.PLANNED, Job.step_index.in_(turned.skips)
            ).execute()

    def _write_outbox(self, plan: DeploymentPlan, turned: _Turned, now_ms: int) -> None:
        sent = {send.job for send in turned.sends}
        rows = [
            {
                "kind": OutboxKind.COMMAND,
                "spoke": plan.attempts[send.job][0].target.spoke,
                "cid": send.job,
                "created_at": now_ms,
                "expires_at": send.deadline_ms,
            }
            for send in turned.sends
        ]
        for part in _parts(rows):
            Outbox.insert_many(part).execute()
        for part in _parts(turned.drops):
            Outbox.update(state=OutboxState.DEAD).where(
                Outbox.cid.in_(part), Outbox.kind == OutboxKind.COMMAND, Outbox.state.not_in(_SETTLED)
            ).execute()
        ended = [cid for cid, columns in turned.jobs.items() if columns["state"] in JOB_ENDED]
        for part in _parts(ended):
            Outbox.update(state=OutboxState.DONE).where(Outbox.cid.in_(part), Outbox.state.not_in(_SETTLED)).execute()
        accepted = [cid for cid in turned.jobs if cid not in sent and cid not in set(ended)]
        for part in _parts(accepted):
            Outbox.update(state=OutboxState.ACCEPTED).where(
                Outbox.cid.in_(part), Outbox.kind == OutboxKind.COMMAND, Outbox.state.not_in(_SETTLED)
            ).execute()
        if rows:
            current_transaction().after_commit.append(self._wake)

    def _cancel(self, plan: DeploymentPlan, cancels: Sequence[SendCancel], now_ms: int) -> list[tuple[str, Event]]:
        """A command that never left is taken back here; behind one that did goes a cancel."""
        following: list[tuple[str, Event]] = []
        for cancel in cancels:
            taken_back = (
                Outbox.update(state=OutboxState.DEAD)
                .where(
                    Outbox.cid == cancel.job,
                    Outbox.kind == OutboxKind.COMMAND,
                    Outbox.state == OutboxState.WAITING,
                    Outbox.attempts == 0,
                )
                .execute()
            )
            if taken_back:
                following.append((plan.task, JobEnded(cancel.job, JobState.CANCELLED, None, "it was never sent")))
                continue
            Outbox.insert(
                kind=OutboxKind.CANCEL,
                spoke=plan.attempts[cancel.job][0].target.spoke,
                cid=cancel.job,
                body=cancel.reason.encode("utf-8"),
                created_at=now_ms,
                expires_at=now_ms + CANCEL_LIFE_MS,
            ).execute()
            current_transaction().after_commit.append(self._wake)
        return following

    def _set_timers(self, task: str, timers: Mapping[str, int | None]) -> None:
        if not timers:
            return
        Timer.delete().where(Timer.task == task, Timer.name.in_(list(timers))).execute()
        due = [{"task": task, "name": name, "due_at": at} for name, at in timers.items() if at is not None]
        if due:
            Timer.insert_many([{"id": new_row_id(), **row} for row in due]).execute()

    def _say(self, turned: _Turned, now_ms: int) -> None:
        pieces = [
            task_log.Lines(turned.task, [now_ms], [said.level], [said.text], said.step, said.target)
            for said in turned.says
        ]
        task_log.append(self._vault, _joined(pieces))

    def _write_task(self, task: str, state: SetTask, now_ms: int) -> None:
        columns: dict[str, Any] = {"state": state.state, "failure": state.failure, "version": Task.version + 1}
        columns["waiting_for"] = ""
        if state.state is TaskState.RUNNING:
            columns["started_at"] = now_ms
        if state.state in TASK_ENDED:
            columns["ended_at"] = now_ms
        Task.update(columns).where(Task.id == task).execute()

    def _ended(self, task_id: str, end: SetTask) -> list[tuple[str, Event]]:
        task = Task.get_by_id(task_id)
        record(
            f"{task.kind}.{end.state}",
            f"task:{task_id}",
            actor=SYSTEM,
            outcome="ok" if end.state is TaskState.SUCCEEDED else "failed",
            project=task.project,
            environment=task.environment,
            detail={"failure": end.failure} if end.failure else {},
        )
        _hold_queue(task)
        following = _next_in_queue(task)
        return [(following, Started())] if following else []


_SETTLED = (OutboxState.DONE, OutboxState.DEAD)
_AT = {JobState.ACCEPTED: "accepted_at", JobState.RUNNING: "started_at"}


def _sorted(task: str, effects: Iterable[Effect], now_ms: int) -> _Turned:
    turned = _Turned(task)
    for effect in effects:
        match effect:
            case SetJob():
                turned.jobs.setdefault(effect.job, {}).update(_job_columns(effect, now_ms))
            case SendJob(job, deadline_ms):
                turned.jobs.setdefault(job, {})["deadline_at"] = deadline_ms
                turned.sends.append(effect)
            case SendCancel():
                turned.cancels.append(effect)
            case DropJob(job):
                turned.drops.append(job)
            case SetTimer(name, due_ms):
                turned.timers[name] = due_ms
            case DropTimer(name):
                turned.timers[name] = None
            case Say():
                turned.says.append(effect)
            case SkipJobs(step):
                turned.skips.append(step)
            case SetTask():
                turned.states.append(effect)
            case SetStep():
                continue
    return turned


def _job_columns(effect: SetJob, now_ms: int) -> dict[str, Any]:
    columns: dict[str, Any] = {"state": effect.state}
    if effect.state in JOB_ENDED:
        columns |= {"exit_code": effect.exit_code, "message": effect.message, "ended_at": now_ms}
    elif effect.state in _AT:
        columns[_AT[effect.state]] = now_ms
    return columns


def _job_row(plan: DeploymentPlan, cid: str, now_ms: int) -> dict[str, Any]:
    job, attempt = plan.attempts[cid]
    return {
        "id": cid,
        "task": plan.task,
        "step_index": job.step,
        "step": plan.step_of(job).name,
        "target": job.target.id,
        "target_name": job.target.name,
        "spoke": job.target.spoke,
        "attempt": attempt,
        "created_at": now_ms,
    }


def _joined(pieces: Sequence[task_log.Lines]) -> list[task_log.Lines]:
    """Neighbours from the same place as one piece: a block for a line would be dear."""
    joined: list[task_log.Lines] = []
    for piece in pieces:
        last = joined[-1] if joined else None
        if last is not None and (last.step, last.target) == (piece.step, piece.target):
            joined[-1] = task_log.Lines(
                last.task,
                [*last.at, *piece.at],
                [*last.levels, *piece.levels],
                [*last.texts, *piece.texts],
                last.step,
                last.target,
            )
        else:
            joined.append(piece)
    return joined


def _hold_queue(task: Task) -> None:
    """Until the commit, nobody else joins or leaves the queue of this project and environment.

    On PostgreSQL two transactions do not see one another: two deployments would begin at once, or one would wait for
    a turn that was given before it came. On SQLite the writer's lock is ours already.
    """
    if task.kind is TaskKind.DEPLOYMENT and is_postgres():
        place = hashlib.sha256(f"queue {task.project} {task.environment}".encode()).digest()[:8]
        number = int.from_bytes(place, "big", signed=True)
        cursor = Task._meta.database.cursor()  # noqa: SLF001  Peewee's own way to a model's database.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (number,))


def _ahead_of(task: Task) -> Task | None:
    """The deployment that this one must wait for: of the same project to the same environment."""
    if task.kind is not TaskKind.DEPLOYMENT:
        return None
    ahead: Task | None = _of_its_kind(task).where(Task.id != task.id).order_by(Task.created_at, Task.id).first()
    return ahead


def _next_in_queue(task: Task) -> str | None:
    if task.kind is not TaskKind.DEPLOYMENT:
        return None
    queued = _of_its_kind(task).where(Task.id != task.id)
    if queued.where(Task.state != TaskState.QUEUED).exists():
        return None
    following = queued.order_by(Task.created_at, Task.id).first()
    return None if following is None else str(following.id)


def _of_its_kind(task: Task) -> Any:
    return Task.select().where(
        Task.kind == TaskKind.DEPLOYMENT,
        Task.project == task.project,
        Task.environment == task.environment,
        Task.state.not_in(list(TASK_ENDED)),
    )


def _parts(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (items[start : start + _ROWS_A_STATEMENT] for start in range(0, len(items), _ROWS_A_STATEMENT))


def say(vault: Vault, task: str, at: int, level: Level, text: str, step: str = "", target: str = "") -> None:
    """One line of the hub's own words; inside `write_tx`."""
    task_log.append(vault, [task_log.Lines(task, [at], [level], [text], step, target)])

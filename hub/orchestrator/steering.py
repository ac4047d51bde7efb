"""Events in, one transaction, effects out: the shell around `advance`.

    feed(task, events)  ->  plan + progress  ->  advance  ->  progress, outbox, jobs, timers, log, task, audit

All of it happens in the caller's `write_tx`; what must be woken is woken after the commit.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from peewee import fn

from hub.events.record import SYSTEM, record
from hub.orchestrator import check_results, task_log
from hub.orchestrator.admitting import COUNTED, Admission, QueueLimits
from hub.orchestrator.effects import (
    DropJob,
    DropTimer,
    Effect,
    ExpireJob,
    Level,
    Say,
    SendCancel,
    SendJob,
    SetDeadline,
    SetJob,
    SetTask,
    SetTimer,
    SkipJobs,
)
from hub.orchestrator.events import QUEUE_TIMER, Event, Started
from hub.orchestrator.job_rows import insert_jobs, update_jobs
from hub.orchestrator.plan import DeploymentPlan
from hub.orchestrator.progress import advance_all
from hub.orchestrator.sendings import Sendings
from hub.orchestrator.standing import Progress, beginning
from hub.orchestrator.task_store import TaskStore, hold_tasks
from hub.orchestrator.turns import Turns
from hub.states import JOB_ENDED, TASK_ENDED, JobState, TaskKind, TaskState
from hub.storage.database import current_transaction
from hub.storage.models import Job, Task, Timer, new_row_id
from hub.storage.prepared import Prepared, PreparedRows, hole, holes
from hub.storage.vault import Vault

Columns = dict[str, Any]

_AT = {JobState.ACCEPTED: "accepted_at", JobState.RUNNING: "started_at"}

_TASK_COLUMNS = (
    "id", "kind", "title", "state", "project", "environment", "release", "created_at", "created_by", "started_at",
    "ended_at", "waiting_for", "failure", "log_lines", "retry_of", "priority", "concurrency_key", "parent",
)  # fmt: skip
_NEW_TASK = Prepared(lambda: Task.insert({name: hole(name) for name in _TASK_COLUMNS}))
_TASK = PreparedRows(Task, lambda: Task.select().where(Task.id == hole("id")))
_TASK_STATE = Prepared(
    lambda: Task.update(
        state=hole("state"),
        failure=hole("failure"),
        waiting_for="",
        version=Task.version + 1,
        started_at=fn.COALESCE(hole("started_at"), Task.started_at),
        ended_at=fn.COALESCE(hole("ended_at"), Task.ended_at),
    ).where(Task.id == hole("id"))
)
_NO_TIMER = Prepared(
    lambda count: Timer.delete().where(Timer.task == hole("task"), Timer.name.in_(holes("names", count))), "names"
)
_TIMER = Prepared(lambda: Timer.insert(id=hole("id"), task=hole("task"), name=hole("name"), due_at=hole("due_at")))


@dataclass(slots=True)
class _Turned:
    """The effects of one `advance`, sorted by what they touch."""

    task: str
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    sends: list[SendJob] = field(default_factory=list)
    cancels: list[SendCancel] = field(default_factory=list)
    drops: list[str] = field(default_factory=list)
    expired: list[str] = field(default_factory=list)
    timers: dict[str, int | None] = field(default_factory=dict)
    says: list[Say] = field(default_factory=list)
    skips: list[int] = field(default_factory=list)
    states: list[SetTask] = field(default_factory=list)


class Steering:
    """Feeds tasks; one for a process."""

    def __init__(
        self,
        vault: Vault,
        store: TaskStore,
        clock_ms: Callable[[], int],
        wake: Callable[[], None],
        queue: QueueLimits | None = None,
    ) -> None:
        """`wake` is called after a commit that put something into the outbox."""
        self._vault = vault
        self._store = store
        self._clock_ms = clock_ms
        self._wake = wake
        self._sendings = Sendings(clock_ms, wake)
        self._admission = Admission(clock_ms, queue or QueueLimits())
        self.turns = Turns(self._admission, lambda task: self.feed({task: [Started()]}), clock_ms)

    def begin(self, task: Task, plan: DeploymentPlan) -> None:
        """Store a fresh task, its plan and its jobs, with its turn taken, or in the queue with the reason why.

        Everything is written once, as it stands after the turn.
        """
        now_ms, before = self._clock_ms(), beginning(plan)
        task.waiting_for = self._admission.hold(task, _targets_of(plan))
        queued = bool(task.waiting_for)
        progress, effects = (before, ()) if queued else advance_all(plan, before, (Started(),), now_ms)
        turned = _sorted(task.id, effects, now_ms)
        if queued:
            turned.timers[QUEUE_TIMER] = now_ms + self._admission.limits.wait_s * 1000
            self.turns.place_freed()
        blocks = task_log.prepare(self._vault, self._lines(turned, now_ms))
        columns = {**_task_columns(turned, now_ms), "log_lines": sum(block["lines"] for block in blocks)}
        _NEW_TASK.run(**{name: columns.get(name, getattr(task, name)) for name in _TASK_COLUMNS})
        task_log.store_first(blocks, task.id)
        self._store.add(plan, progress)
        current_transaction().after_commit.append(lambda: self._store.saved(task.id, 0, progress))
        insert_jobs(_new_jobs(plan, turned, now_ms))
        turned.timers = {name: due_ms for name, due_ms in turned.timers.items() if due_ms is not None}
        self._follow(plan, before, progress, turned)

    def hold(self, tasks: Iterable[str]) -> None:
        """Nobody else moves these tasks until the commit: for whoever touches their jobs before he feeds them."""
        hold_tasks(tasks)

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
                _gather(self._feed_one(task, waiting[task], columns or {}), following)
            waiting = following

    def _follow(self, plan: DeploymentPlan, before: Progress, progress: Progress, turned: _Turned) -> None:
        """What else follows of a task's first turn: it is in its rows already, what it leads to is not."""
        self._skip(turned)
        following = self._send(plan, turned)
        self._write_timers(turned.task, turned.timers)
        self._end(before, progress, turned)
        self.feed(_gather(following, {}))

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
        following = self._send(plan, turned)
        self._set_timers(turned.task, turned.timers)
        task_log.append(self._vault, self._lines(turned, now_ms))
        if turned.states:
            columns = {"started_at": None, "ended_at": None} | _task_columns(turned, now_ms)
            _TASK_STATE.run(id=turned.task, **columns)
        self._end(before, progress, turned)
        return following

    def _end(self, before: Progress, progress: Progress, turned: _Turned) -> None:
        if progress.state in TASK_ENDED and before.state not in TASK_ENDED:
            self._ended(turned.task, turned.states[-1])

    def _write_jobs(self, plan: DeploymentPlan, turned: _Turned, now_ms: int) -> None:
        again = [send.job for send in turned.sends if plan.attempts[send.job][1] > 1]
        if again:
            insert_jobs([_job_row(plan, cid, now_ms) for cid in again])
        update_jobs(turned.jobs)
        self._skip(turned)

    def _skip(self, turned: _Turned) -> None:
        if turned.skips:
            Job.update(state=JobState.SKIPPED).where(
                Job.task == turned.task, Job.state == JobState.PLANNED, Job.step_index.in_(turned.skips)
            ).execute()

    def _send(self, plan: DeploymentPlan, turned: _Turned) -> list[tuple[str, Event]]:
        self._sendings.add(plan, turned.sends)
        states = {cid: columns.get("state") for cid, columns in turned.jobs.items()}
        ended = [cid for cid, state in states.items() if state in JOB_ENDED]
        accepted = [cid for cid, state in states.items() if state in _AT]
        self._sendings.settle(dropped=turned.drops, ended=ended, accepted=accepted)
        following = self._sendings.cancel(plan, turned.cancels) + self._sendings.expire(plan, turned.expired)
        return [(plan.task, event) for event in following]

    def _set_timers(self, task: str, timers: Mapping[str, int | None]) -> None:
        if not timers:
            return
        _NO_TIMER.run(task=task, names=timers)
        self._write_timers(task, timers)

    def _write_timers(self, task: str, timers: Mapping[str, int | None]) -> None:
        _TIMER.run_each(
            {"id": new_row_id(), "task": task, "name": name, "due_at": at}
            for name, at in timers.items()
            if at is not None
        )

    def _lines(self, turned: _Turned, now_ms: int) -> list[task_log.Lines]:
        return _joined(
            [
                task_log.Lines(turned.task, [now_ms], [said.level], [said.text], said.step, said.target)
                for said in turned.says
            ]
        )

    def _ended(self, task_id: str, end: SetTask) -> None:
        task = _TASK.one(id=task_id)
        assert task is not None
        if task.kind is TaskKind.HEALTH_CHECK:
            check_results.note(self._vault, task, self._clock_ms())
            current_transaction().after_commit.append(self._wake)
        if not check_results.is_routine(task):
            _record_end(task, end)
        if task.kind in COUNTED:
            self.turns.place_freed()


def _record_end(task: Task, end: SetTask) -> None:
    record(
        f"{task.kind}.{end.state}",
        f"task:{task.id}",
        actor=SYSTEM,
        outcome="ok" if end.state is TaskState.SUCCEEDED else "failed",
        project=task.project,
        environment=task.environment,
        detail={"failure": end.failure} if end.failure else {},
    )


def _gather(found: Iterable[tuple[str, Event]], events: dict[str, list[Event]]) -> dict[str, list[Event]]:
    """Add to events by task."""
    for task, event in found:
        events.setdefault(task, []).append(event)
    return events


def _sorted(task: str, effects: Iterable[Effect], now_ms: int) -> _Turned:
    turned = _Turned(task)
    for effect in effects:
        match effect:
            case SetJob(job):
                turned.jobs.setdefault(job, {}).update(_job_columns(effect, now_ms))
            case SetDeadline(job):
                turned.jobs.setdefault(job, {}).update(_deadlines(effect))
            case SendJob(job, deadline_ms):
                turned.jobs.setdefault(job, {})["deadline_at"] = deadline_ms
                turned.sends.append(effect)
            case SendCancel():
                turned.cancels.append(effect)
            case DropJob(job):
                turned.drops.append(job)
            case ExpireJob(job):
                turned.expired.append(job)
            case SetTimer() | DropTimer():
                turned.timers[effect.name] = effect.due_ms if isinstance(effect, SetTimer) else None
            case Say():
                turned.says.append(effect)
            case SkipJobs(step):
                turned.skips.append(step)
            case SetTask():
                turned.states.append(effect)
    return turned


def _job_columns(effect: SetJob, now_ms: int) -> dict[str, Any]:
    columns: dict[str, Any] = {"state": effect.state}
    if effect.state in JOB_ENDED:
        columns |= {"exit_code": effect.exit_code, "message": effect.message, "ended_at": now_ms}
    elif effect.state in _AT:
        columns[_AT[effect.state]] = now_ms
    return columns


def _deadlines(effect: SetDeadline) -> dict[str, Any]:
    run = {} if effect.run_ms is None else {"run_deadline_at": effect.run_ms}
    return {"gives_up_at": effect.until_ms, **run}


def _task_columns(turned: _Turned, now_ms: int) -> Columns:
    """What a turn does to the task's own row; {} for nothing."""
    if not turned.states:
        return {}
    last = turned.states[-1]
    columns: Columns = {"state": last.state, "failure": last.failure}
    if any(change.state is TaskState.RUNNING for change in turned.states):
        columns["started_at"] = now_ms
    if last.state in TASK_ENDED:
        columns["ended_at"] = now_ms
    return columns


def _new_jobs(plan: DeploymentPlan, turned: _Turned, now_ms: int) -> list[Columns]:
    """All jobs of a fresh plan, as they stand after its first turn."""
    firsts = (job.id for step in plan.steps for job in step.jobs)
    return [{**_job_row(plan, cid, now_ms), **turned.jobs.get(cid, {})} for cid in firsts]


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


def _targets_of(plan: DeploymentPlan) -> set[str]:
    return {job.target.id for step in plan.steps for job in step.jobs}


def say(vault: Vault, task: str, at: int, level: Level, text: str, step: str = "", target: str = "") -> None:
    """One line of the hub's own words; inside `write_tx`."""
    task_log.append(vault, [task_log.Lines(task, [at], [level], [text], step, target)])

"""What tasks wait for, by their rows: the list that `waits.py` words, and its first sentence in the task's own row.

Needs no plan and no key of the engine's, so any process may ask, also while the engine is gone.
"""

from collections.abc import Collection, Iterable
from typing import Any

from peewee import JOIN

from hub.infrastructure.machine_policies import policies_of
from hub.orchestrator import waits
from hub.orchestrator.admitting import block_of
from hub.orchestrator.events import QUEUE_TIMER, TASK_TIMER
from hub.orchestrator.missing_logs import words as fetch_words
from hub.orchestrator.states import OPEN_JOBS
from hub.orchestrator.waits import ENGINE, Carrier, OpenJob, Sending, Wait
from hub.states import (
    JOB_ENDED,
    TASK_ENDED,
    FetchState,
    Health,
    JobState,
    OutboxKind,
    OutboxState,
    SpokeState,
    TargetKind,
    TaskState,
    Unavailable,
)
from hub.storage.database import write_tx
from hub.storage.models import Job, LogFetch, MachinePolicy, Outbox, Spoke, SpokeSession, Target, Task, Timer

_JOBS_MAX = 5_000
_SHOWN_MAX = 500
_UNDER_WAY = (TaskState.RUNNING, TaskState.CANCELLING)
_UNSENT = (OutboxState.WAITING, OutboxState.HELD, OutboxState.PUBLISHED)


def refresh(now_ms: int, stopped: str = "") -> int:
    """Write the sentences of running tasks anew where they changed.

    Args:
        now_ms: The present.
        stopped: Why no command is issued at all; "" where they are.

    Returns:
        How many tasks changed.
    """
    sentences = _sentences(now_ms, stopped)
    shown: Any = (
        Task.select(Task.id, Task.waiting_for).where(
            Task.state.in_(_UNDER_WAY), (Task.waiting_for != "") | Task.id.in_(list(sentences))
        )
    ).tuples()
    changed = [(task, sentences.get(task, "")) for task, words in shown if words != sentences.get(task, "")]
    if changed:
        with write_tx():
            for task, words in changed:
                Task.update(waiting_for=words, version=Task.version + 1).where(Task.id == task).execute()
    return len(changed)


def of_task(task: Task, now_ms: int) -> list[Wait]:
    """Everything of a task that is not finished: itself, its steps, its open jobs, messages of them, missing logs."""
    if task.state in TASK_ENDED:
        return _fetches(task, now_ms)
    due = _timers(task)
    steps = [] if task.state is TaskState.QUEUED else _steps(task, due.get(TASK_TIMER))
    its_own = Job.task == task.id
    return [
        _itself(task, due, steps, now_ms),
        *steps,
        *_open_jobs(its_own, now_ms),
        *_messages(its_own, now_ms),
        *_fetches(task, now_ms),
    ]


def of_target(target: Target, now_ms: int) -> list[Wait]:
    """What is to be done there, and is not."""
    return _open_jobs(Job.target == target.id, now_ms)


def of_spokes(now_ms: int) -> list[Wait]:
    """Those that somebody must approve, those that are silent, and what they themselves were asked for."""
    rows: Any = (
        Spoke.select(Spoke.name, Spoke.state, Spoke.created_at, Spoke.last_seen_at, SpokeSession.id)
        .join(SpokeSession, JOIN.LEFT_OUTER, on=_live())
        .where(Spoke.state.in_([SpokeState.PENDING, SpokeState.TRUSTED]), SpokeSession.id.is_null())
        .order_by(Spoke.name)
        .limit(_SHOWN_MAX)
        .tuples()
    )
    absent = [
        waits.of_spoke(Carrier(name, is_live=False, seen_ms=seen_ms), created_ms, state is SpokeState.PENDING, now_ms)
        for name, state, created_ms, seen_ms, _ in rows
    ]
    return [*absent, *_rows_of_outbox(Outbox.kind == OutboxKind.ORDER, now_ms)]


def of_spoke(spoke: Spoke, now_ms: int) -> list[Wait]:
    """What waits for this spoke: jobs that it has or should have, and messages to it."""
    orders = _rows_of_outbox(
        (Outbox.spoke == spoke.id) & Outbox.kind.in_([OutboxKind.ORDER, OutboxKind.WELCOME]), now_ms
    )
    return [*_open_jobs(Job.spoke == spoke.id, now_ms), *_messages(Job.spoke == spoke.id, now_ms), *orders]


def of_outbox(now_ms: int) -> list[Wait]:
    """Every message that has not done its work."""
    return _rows_of_outbox(Outbox.kind != OutboxKind.EVENT, now_ms)


def unattended(tasks: Collection[str], now_ms: int) -> dict[str, int]:
    """Those under way whose timer should have fired, and did not, with its moment: no engine looks after them."""
    rows: Any = Timer.select(Timer.task, Timer.due_at).where(
        Timer.task.in_(list(tasks)), Timer.due_at < now_ms - waits.SLACK_MS
    )
    found: dict[str, int] = {}
    for task, due_ms in rows.tuples():
        found[task] = min(due_ms, found.get(task, due_ms))
    return found


def is_unattended(now_ms: int) -> Any:
    """The same as a condition on tasks."""
    overdue = Timer.select(Timer.task).where(Timer.due_at < now_ms - waits.SLACK_MS)
    return Task.state.in_(_UNDER_WAY) & Task.id.in_(overdue)


def _sentences(now_ms: int, stopped: str) -> dict[str, str]:
    """By task: the first of its troubles."""
    found: dict[str, list[str]] = {}
    old = Task.started_at < now_ms - waits.PATIENCE_MS
    perhaps = (Job.state == JobState.SENT) | SpokeSession.id.is_null() | (Task.state == TaskState.CANCELLING)
    for task, wait in _jobs(old & perhaps, now_ms, stopped, _JOBS_MAX):
        if wait.is_trouble:
            found.setdefault(task, []).append(wait.sentence)
    return {task: words[0] if len(words) == 1 else _with_more(words) for task, words in found.items()}


def _with_more(words: list[str]) -> str:
    return f"{words[0]} (and {len(words) - 1} more)"


def _open_jobs(which: Any, now_ms: int) -> list[Wait]:
    return [wait for _, wait in _jobs(which, now_ms, "", _SHOWN_MAX)]


def _jobs(which: Any, now_ms: int, stopped: str, most: int) -> list[tuple[str, Wait]]:
    """Open jobs with their tasks, the first to end first."""
    rows: Any = (
        Job.select(
            Job.task, Job.target_name, Job.state, Job.created_at, Job.sent_at, Job.accepted_at, Job.started_at,
            Job.deadline_at, Job.run_deadline_at, Job.gives_up_at, Job.target, Task.state, Task.started_at,
            Spoke.name, Spoke.last_seen_at, SpokeSession.id,
        )
        .join(Task, on=(Task.id == Job.task))
        .switch(Job)
        .join(Spoke, JOIN.LEFT_OUTER, on=(Spoke.id == Job.spoke))
        .join(SpokeSession, JOIN.LEFT_OUTER, on=_live())
        .where(Job.state.in_(list(OPEN_JOBS)), Task.state.in_(_UNDER_WAY), which)
        .order_by(Job.gives_up_at, Job.target_name)
        .limit(most)
        .tuples()
    )  # fmt: skip
    found = list(rows)
    minded = _minded({row[10] for row in found})
    made = []
    for (
        task, name, state, created_ms, sent_ms, accepted_ms, started_ms, pickup_ms, run_ms, until_ms, target,
        task_state, begun_ms, spoke, seen_ms, session,
    ) in found:  # fmt: skip
        since_ms = {JobState.RUNNING: started_ms, JobState.ACCEPTED: accepted_ms}.get(state) or sent_ms or begun_ms
        job = OpenJob(
            name, JobState(state), since_ms or created_ms, pickup_ms or 0, run_ms or 0, until_ms or pickup_ms or 0,
            is_cancelled=task_state is TaskState.CANCELLING,
        )  # fmt: skip
        away, policy = minded.get(target, ("", ""))
        carrier = Carrier(spoke or name, session is not None, seen_ms, away, policy)
        made.append((task, waits.of_job(job, carrier, now_ms, stopped)))
    return made


def _live() -> Any:
    return (SpokeSession.spoke == Spoke.id) & SpokeSession.live & SpokeSession.valid_until.is_null()


def _minded(targets: set[str]) -> dict[str, tuple[str, str]]:
    """Of those of which there is something to say: why their spoke cannot reach them, and whose patience it is."""
    rows = list(Target.select().where(Target.id.in_(list(targets)))) if targets else []
    policies = policies_of(rows)
    return {row.id: (_out_of_reach(row), _by(policies[row.id])) for row in rows}


def _out_of_reach(row: Target) -> str:
    return row.health_reason if row.kind is TargetKind.SSH and row.health is Health.UNAVAILABLE else ""


def _by(policy: MachinePolicy) -> str:
    is_patient = policy.unavailable is Unavailable.WAIT and policy.wait_s > 0
    return f" by policy {policy.name!r}" if is_patient else ""


def _timers(task: Task) -> dict[str, int]:
    rows: Any = Timer.select(Timer.name, Timer.due_at).where(Timer.task == task.id).tuples()
    return dict(rows)


def _itself(task: Task, due: dict[str, int], steps: list[Wait], now_ms: int) -> Wait:
    if task.state is TaskState.QUEUED:
        ends_ms = due.get(QUEUE_TIMER)
        ends = f"; fails at {waits.clock(ends_ms, now_ms)}" if ends_ms else ""
        block = block_of(task)
        return Wait(
            "task", task.title, block.owner, task.created_at, ends_ms, f"{block.sentence}{ends}", is_trouble=True
        )
    overdue_ms = min(due.values(), default=0)
    if waits.is_unattended(overdue_ms, now_ms):
        words = waits.unattended(overdue_ms, now_ms)
        return Wait("task", task.title, ENGINE, task.started_at, overdue_ms, words, is_trouble=True)
    present = next((step.sentence for step in steps), "it ends now")
    ends_ms = due.get(TASK_TIMER)
    if task.state is TaskState.CANCELLING:
        return Wait(
            "task", task.title, ENGINE, task.started_at, ends_ms, f"is being cancelled: {present}", is_trouble=True
        )
    return Wait("task", task.title, ENGINE, task.started_at, ends_ms, f"is at work: {present}")


def _steps(task: Task, ends_ms: int | None) -> list[Wait]:
    """Those that have begun and those that wait for them, in order; all of them end with the task."""
    rows: Any = (
        Job.select(Job.step_index, Job.step, Job.state, Job.gives_up_at, Job.sent_at, Job.created_at)
        .where(Job.task == task.id)
        .order_by(Job.step_index)
        .tuples()
    )
    by_step: dict[int, list[Any]] = {}
    for row in rows:
        by_step.setdefault(row[0], []).append(row)
    found: list[Wait] = []
    for index, jobs in by_step.items():
        states = [row[2] for row in jobs]
        if all(state in JOB_ENDED for state in states):
            continue
        name = jobs[0][1]
        at_work = [row for row in jobs if row[2] in OPEN_JOBS]
        if not at_work and found:
            before = found[-1].name
            found.append(Wait("step", name, before, jobs[0][5], ends_ms, f"step {index + 1} waits for {before!r}"))
            continue
        planned, ended = states.count(JobState.PLANNED), sum(state in JOB_ENDED for state in states)
        counts = f"{ended} of {len(jobs)} jobs have ended, {len(at_work)} are open"
        counts += f", {planned} wait for their turn" if planned else ""
        until_ms = max((row[3] for row in at_work if row[3]), default=ends_ms)
        since_ms = min((row[4] or row[5] for row in at_work), default=jobs[0][5])
        found.append(Wait("step", name, ENGINE, since_ms, until_ms, f"step {index + 1}, {name!r}: {counts}"))
    return found


def _messages(which: Any, now_ms: int) -> list[Wait]:
    """Commands that no spoke has taken, and cancels that none has answered."""
    jobs = Job.select(Job.id).join(Task, on=(Task.id == Job.task)).where(which, Task.state.in_(_UNDER_WAY))
    return _rows_of_outbox(Outbox.cid.in_(jobs) & Outbox.kind.in_([OutboxKind.COMMAND, OutboxKind.CANCEL]), now_ms)


def _rows_of_outbox(which: Any, now_ms: int) -> list[Wait]:
    rows: Any = (
        Outbox.select(
            Outbox.kind, Outbox.state, Outbox.created_at, Outbox.expires_at, Outbox.attempts, Job.target_name,
            Job.target, Spoke.name, Spoke.last_seen_at, SpokeSession.id,
        )
        .join(Job, JOIN.LEFT_OUTER, on=(Job.id == Outbox.cid))
        .switch(Outbox)
        .join(Spoke, JOIN.LEFT_OUTER, on=(Spoke.id == Outbox.spoke))
        .join(SpokeSession, JOIN.LEFT_OUTER, on=_live())
        .where(which, Outbox.state.in_(_UNSENT))
        .order_by(Outbox.id)
        .limit(_SHOWN_MAX)
        .tuples()
    )  # fmt: skip
    found = list(rows)
    minded = _minded({row[6] for row in found if row[6]})
    return [
        waits.of_sending(
            Sending(OutboxKind(kind), OutboxState(state), created_ms, expires_ms, attempts),
            Carrier(spoke or target_name or "a spoke", session is not None, seen_ms, minded.get(target, ("", ""))[0]),
            now_ms,
        )
        for kind, state, created_ms, expires_ms, attempts, target_name, target, spoke, seen_ms, session in found
    ]


def _fetches(task: Task, now_ms: int) -> list[Wait]:
    """Logs in which something is missing."""
    rows: Iterable[Any] = (
        LogFetch.select(LogFetch, Job)
        .join(Job, on=(Job.id == LogFetch.job), attr="of")
        .where(LogFetch.task == task.id, LogFetch.state == FetchState.OPEN)
    )
    found = []
    for row in rows:
        until_ms = row.deadline_at
        ends = f"; given up at {waits.clock(until_ms, now_ms)}" if until_ms else ""
        name = row.of.target_name
        sentence = f"lines of {name}'s log are missing: {fetch_words(row)}{ends}"
        found.append(Wait("log", name, name, row.created_at, until_ms, sentence, is_trouble=True))
    return found

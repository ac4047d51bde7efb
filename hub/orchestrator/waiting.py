"""What a task waits for, in one sentence: `waits for web-03: last heartbeat 4 min ago; fails at 14:20 UTC`."""

from datetime import UTC, datetime
from typing import Any

from peewee import JOIN

from hub.infrastructure.machine_policies import policies_of
from hub.states import Health, JobState, TargetKind, TaskState, Unavailable
from hub.storage.database import write_tx
from hub.storage.models import Job, MachinePolicy, Spoke, SpokeSession, Target, Task

# Sooner nobody would read it.
_PATIENCE_MS = 3_000
_JOBS_MAX = 5_000


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
            Task.state.in_([TaskState.RUNNING, TaskState.CANCELLING]),
            (Task.waiting_for != "") | Task.id.in_(list(sentences)),
        )
    ).tuples()
    changed = [(task, sentences.get(task, "")) for task, words in shown if words != sentences.get(task, "")]
    if changed:
        with write_tx():
            for task, words in changed:
                Task.update(waiting_for=words, version=Task.version + 1).where(Task.id == task).execute()
    return len(changed)


def _sentences(now_ms: int, stopped: str) -> dict[str, str]:
    rows: Any = (
        Job.select(Job.task, Job.target_name, Job.deadline_at, Spoke.last_seen_at, SpokeSession.id, Job.target)
        .join(Task, on=(Task.id == Job.task))
        .switch(Job)
        .join(Spoke, on=(Spoke.id == Job.spoke))
        .join(
            SpokeSession,
            JOIN.LEFT_OUTER,
            on=((SpokeSession.spoke == Spoke.id) & SpokeSession.live & SpokeSession.valid_until.is_null()),
        )
        .where(
            Job.state == JobState.SENT,
            Task.state.in_([TaskState.RUNNING, TaskState.CANCELLING]),
            Task.started_at < now_ms - _PATIENCE_MS,
        )
        .order_by(Job.deadline_at, Job.target_name)
        .limit(_JOBS_MAX)
        .tuples()
    )
    waiting = list(rows)
    minded = _minded({row[-1] for row in waiting})
    found: dict[str, list[str]] = {}
    for task, name, deadline_ms, seen_ms, session, target in waiting:
        away, policy = minded.get(target, ("", ""))
        why = stopped or away or _why(seen_ms, session, now_ms)
        found.setdefault(task, []).append(f"waits for {name}: {why}; fails at {_clock(deadline_ms)} UTC{policy}")
    return {task: words[0] if len(words) == 1 else _with_more(words) for task, words in found.items()}


def _with_more(words: list[str]) -> str:
    return f"{words[0]} (and {len(words) - 1} more)"


def _minded(targets: set[str]) -> dict[str, tuple[str, str]]:
    """Of those of which there is something to say: why their spoke cannot reach them, and whose patience it is."""
    rows = list(Target.select().where(Target.id.in_(list(targets)))) if targets else []
    policies = policies_of(rows)
    return {row.id: (_out_of_reach(row), _by(policies[row.id])) for row in rows}


def _out_of_reach(row: Target) -> str:
    return row.health_reason if row.kind is TargetKind.SSH and row.health is Health.UNAVAILABLE else ""


def _by(policy: MachinePolicy) -> str:
    waits = policy.unavailable is Unavailable.WAIT and policy.wait_s > 0
    return f" by policy {policy.name!r}" if waits else ""


def _why(seen_ms: int | None, session: str | None, now_ms: int) -> str:
    if session is not None:
        return "sent, not accepted yet"
    return "never heard of yet" if seen_ms is None else f"last heartbeat {_ago(now_ms - seen_ms)} ago"


def _clock(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%H:%M")


def _ago(span_ms: int) -> str:
    seconds = max(span_ms // 1000, 0)
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"

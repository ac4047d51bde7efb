"""What a task waits for, in one sentence: `waits for web-03: last heartbeat 4 min ago; fails at 14:20 UTC`."""

from datetime import UTC, datetime
from typing import Any

from peewee import JOIN

from hub.states import JobState, TaskState
from hub.storage.database import write_tx
from hub.storage.models import Job, Spoke, SpokeSession, Task

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
        Job.select(Job.task, Job.target_name, Job.deadline_at, Spoke.last_seen_at, SpokeSession.id)
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
    found: dict[str, list[str]] = {}
    for task, target, deadline_ms, seen_ms, session in rows:
        found.setdefault(task, []).append(_sentence(target, deadline_ms, seen_ms, session, now_ms, stopped))
    return {task: words[0] if len(words) == 1 else _with_more(words) for task, words in found.items()}


def _with_more(words: list[str]) -> str:
    return f"{words[0]} (and {len(words) - 1} more)"


def _sentence(
    target: str, deadline_ms: int, seen_ms: int | None, session: str | None, now_ms: int, stopped: str
) -> str:
    if stopped:
        why = stopped
    elif session is not None:
        why = "sent, not accepted yet"
    elif seen_ms is None:
        why = "never heard of yet"
    else:
        why = f"last heartbeat {_ago(now_ms - seen_ms)} ago"
    fails = datetime.fromtimestamp(deadline_ms / 1000, UTC).strftime("%H:%M")
    return f"waits for {target}: {why}; fails at {fails} UTC"


def _ago(span_ms: int) -> str:
    seconds = max(span_ms // 1000, 0)
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"

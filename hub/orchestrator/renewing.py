"""A command that its spoke has taken and not begun is asked for once more before its time is over.

It waits there for one of the spoke's places, or for a large package, and nothing starts past its expiry. So the same
job goes out again, with a later one, as long as the hub is there to take it back, its task runs, and its spoke is live.
The spoke answers from its journal, and the hub waits as much longer as the spoke may.
"""

from collections.abc import Callable
from typing import Any

from hub.orchestrator.events import Event, JobRenewed
from hub.orchestrator.parts import EngineParts
from hub.orchestrator.steering import Steering
from hub.states import JobState, OutboxKind, OutboxState, TaskState
from hub.storage.database import write_tx
from hub.storage.models import Job, Outbox, SpokeSession, Task

_AT_ONCE = 500


class Renewing:
    """`stopped` says why no command may be issued at present; "" where they may."""

    def __init__(self, parts: EngineParts, steering: Steering, stopped: Callable[[], str]) -> None:
        self._parts = parts
        self._steering = steering
        self._stopped = stopped

    def work(self, now_ms: int) -> None:
        """Renew what has used half of its time."""
        if self._stopped() or not self._due(now_ms):
            return
        with write_tx():
            events: dict[str, list[Event]] = {}
            for row, cid, task, life_ms in self._due(now_ms):
                # It keeps its attempts: a cancel must not take it for one that never went out.
                Outbox.update(state=OutboxState.WAITING, expires_at=now_ms + life_ms).where(
                    Outbox.id == row, Outbox.state == OutboxState.ACCEPTED
                ).execute()
                events.setdefault(task, []).append(JobRenewed(cid))
            self._steering.feed(events)

    def _due(self, now_ms: int) -> list[tuple[int, str, str, int]]:
        """Rows of the outbox, their jobs and tasks, and how long a command of each lives."""
        longest_ms = self._parts.limits.command_ttl_s * 1000
        rows: Any = (
            Outbox.select(Outbox.id, Outbox.cid, Job.task, Outbox.published_at, Job.deadline_at, Job.created_at)
            .join(Job, on=(Job.id == Outbox.cid))
            .join(Task, on=(Task.id == Job.task))
            .join(SpokeSession, on=(SpokeSession.spoke == Outbox.spoke))
            .where(
                Outbox.kind == OutboxKind.COMMAND,
                Outbox.state == OutboxState.ACCEPTED,
                Job.state == JobState.ACCEPTED,
                Task.state == TaskState.RUNNING,
                SpokeSession.live,
                SpokeSession.valid_until.is_null(),
                (Outbox.published_at <= now_ms - longest_ms // 2) | (Job.deadline_at - Job.created_at < longest_ms),
            )
            .order_by(Outbox.published_at)
            .limit(_AT_ONCE)
            .tuples()
        )
        found = []
        for row, cid, task, published_ms, pickup_ms, created_ms in rows:
            life_ms = min(longest_ms, max((pickup_ms or 0) - created_ms, 1))
            if published_ms is not None and published_ms + life_ms // 2 <= now_ms:
                found.append((row, cid, task, life_ms))
        return found

"""The queue: what is paused, by whom and since when; what has begun; what waits, and why."""

from typing import Any

from hub.access.caller import Caller
from hub.operations.body import Reply
from hub.orchestrator import waiting as waiting_of
from hub.orchestrator.admitting import place_of
from hub.queries.listing import Order, Slice, page, time_text
from hub.queries.tasks import visible
from hub.states import TASK_ENDED, Priority, TaskState
from hub.storage.models import Environment, Project, QueuePause, Task, User, now_ms


class PauseView(Reply):
    """`place` in words; `project` and `environment` are names, null for any."""

    place: str
    project: str | None
    environment: str | None
    by: str
    since: str
    reason: str


class QueuedView(Reply):
    """`key`: two tasks that have one never run together; "" for the project and its environment, or none."""

    task: str
    kind: str
    title: str
    project: str | None
    environment: str | None
    priority: str
    parent: str | None
    key: str
    since: str
    why: str


class QueueView(Reply):
    """`running`, what an engine looks after, and `waiting` count what the caller may see.

    The oldest first; `next` goes into `?after=`.
    """

    paused: list[PauseView]
    running: int
    waiting: int
    items: list[QueuedView]
    next: str | None = None


def queue(caller: Caller, part: Slice) -> QueueView:
    seen = visible(caller)
    waiting = Task.select().where(seen, Task.state == TaskState.QUEUED)
    looked_after = ~waiting_of.is_unattended(now_ms())
    begun = Task.select().where(seen, Task.state.not_in([TaskState.QUEUED, *TASK_ENDED]), looked_after)
    found = page(waiting, Order(Task.created_at, Task.id), part, _queued)
    return QueueView(
        paused=paused(caller), running=begun.count(), waiting=waiting.count(), items=found.items, next=found.next
    )


def paused(caller: Caller) -> list[PauseView]:
    """Oldest first; of projects that the caller may see."""
    rows = QueuePause.select().order_by(QueuePause.created_at, QueuePause.id)
    return [pause_view(row) for row in rows if row.project is None or caller.sees_project(row.project)]


def paused_row(project: Project | None, environment: Environment | None) -> QueuePause | None:
    """What is paused just there."""
    found: QueuePause | None = QueuePause.get_or_none(
        _is(QueuePause.project, project) & _is(QueuePause.environment, environment)
    )
    return found


def pause_view(row: QueuePause) -> PauseView:
    project = _name(Project, row.project)
    environment = _name(Environment, row.environment)
    return PauseView(
        place=place_of(project, environment),
        project=project,
        environment=environment,
        by=_name(User, row.paused_by) or "somebody who is gone",
        since=time_text(row.created_at),
        reason=row.reason,
    )


def _queued(row: Task) -> QueuedView:
    return QueuedView(
        task=row.id,
        kind=str(row.kind),
        title=row.title,
        project=_name(Project, row.project),
        environment=_name(Environment, row.environment),
        priority=Priority(row.priority).word,
        parent=row.parent,
        key=row.concurrency_key[1:] if row.concurrency_key.startswith("~") else "",
        since=time_text(row.created_at),
        why=row.waiting_for,
    )


def _is(column: Any, row: Any) -> Any:
    return column.is_null() if row is None else column == row.id


def _name(model: Any, row_id: str | None) -> str | None:
    row = model.get_or_none(model.id == row_id) if row_id else None
    return row.name if row else None

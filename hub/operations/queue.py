"""The queue as operations: pause and resume the hub, a project or an environment, and let a task go before others."""

from typing import Any, Literal

from hub.errors import Conflict
from hub.operations.body import Body, Line, Ref, Reply
from hub.operations.context import Context
from hub.operations.operation import EVERYWHERE, Done, Operation, Scope, require
from hub.orchestrator.admitting import Place
from hub.permissions import Permission
from hub.projects import finding
from hub.queries.queue import PauseView, pause_view, paused_row
from hub.states import Priority, TaskState
from hub.storage.models import Environment, Project, QueuePause, Task

PriorityWord = Literal["low", "normal", "high", "urgent"]


class Standing(Body):
    """Where a task stands in the queue.

    `priority`: within its project; `urgent` goes before other projects too. `parent`: the task that waits for this one:
    it begins in that one's place, and does not wait for its concurrency key.
    """

    priority: PriorityWord = "normal"
    parent: Ref | None = None


class PauseBody(Body):
    """A project, an environment, the one in the other, or, with neither, the whole hub."""

    project: Ref | None = None
    environment: Ref | None = None
    reason: Line = ""


class ResumeBody(Body):
    """As it was paused."""

    project: Ref | None = None
    environment: Ref | None = None


class PrioritiseBody(Body):
    task: Ref
    priority: PriorityWord


class Prioritised(Reply):
    task: str
    priority: str


def standing_scopes(body: Standing, scope: Scope) -> tuple[Scope, ...]:
    """What is asked for, and the place in which it begins."""
    if body.parent is None:
        return (scope,)
    parent = _task(body.parent, "parent")
    return tuple({scope: None, Scope(parent.project, parent.environment): None})


def asked_place(context: Context, body: Standing, scope: Scope) -> Place:
    """Where in the queue it is asked for.

    Raises:
        NotAllowed: who may deploy need not be one who may go before others.
    """
    priority = Priority[body.priority.upper()]
    for needed in _of_priority(priority, scope):
        require(context.caller, Permission.QUEUE_EDIT, needed)
    return Place(priority, _task(body.parent, "parent").id if body.parent is not None else "")


def _of_priority(priority: Priority, scope: Scope) -> tuple[Scope, ...]:
    if priority is Priority.URGENT:
        return EVERYWHERE
    return (scope,) if priority is Priority.HIGH else ()


def _task(ref: str, field: str | None = None) -> Task:
    row: Task = finding.find(Task, ref, "task", names=(), field=field)
    return row


def _place(body: PauseBody | ResumeBody) -> tuple[Project | None, Environment | None]:
    return (
        finding.project(body.project, "project") if body.project is not None else None,
        finding.environment(body.environment, "environment") if body.environment is not None else None,
    )


def _place_scopes(body: Any) -> tuple[Scope, ...]:
    project, environment = _place(body)
    return (Scope(project.id if project else None, environment.id if environment else None),)


def _pause(context: Context, body: PauseBody) -> Done:
    project, environment = _place(body)
    there = paused_row(project, environment)
    if there is not None:
        found = pause_view(there)
        raise Conflict(f"{found.place} is paused already, by {found.by} since {found.since}", code="PAUSED")
    row = QueuePause.create(
        place=_key(project, environment),
        project=project.id if project else None,
        environment=environment.id if environment else None,
        reason=body.reason,
        paused_by=context.actor,
        created_at=context.now_ms,
    )
    context.orchestrator.queue_changed()
    return _done(row, {"reason": body.reason})


def _resume(context: Context, body: ResumeBody) -> Done:
    project, environment = _place(body)
    row = paused_row(project, environment)
    if row is None:
        raise Conflict("nothing is paused there", code="NOT_PAUSED")
    done = _done(row, {"paused_at": row.created_at})
    row.delete_instance()
    context.orchestrator.queue_changed()
    return done


def _prioritise_scopes(body: PrioritiseBody) -> tuple[Scope, ...]:
    row = _task(body.task)
    scope, priority = Scope(row.project, row.environment), Priority[body.priority.upper()]
    # Whoever takes an urgent one back, too, changes an order that was set for all.
    wide = Priority.URGENT in (priority, Priority(row.priority))
    return (scope, *EVERYWHERE) if wide else (scope,)


def _prioritise(context: Context, body: PrioritiseBody) -> Done:
    row, priority = _task(body.task), Priority[body.priority.upper()]
    if row.state is not TaskState.QUEUED:
        raise Conflict(f"this task does not wait for its turn: it is {row.state}", code="NOT_QUEUED")
    former = Priority(row.priority)
    Task.update(priority=int(priority), version=Task.version + 1).where(Task.id == row.id).execute()
    context.orchestrator.queue_changed()
    return Done(
        Prioritised(task=row.id, priority=priority.word),
        f"task:{row.id}",
        project=row.project,
        environment=row.environment,
        detail={"priority": priority.word, "former": former.word},
    )


def _done(row: QueuePause, detail: dict[str, Any]) -> Done:
    found = pause_view(row)
    place = {"place": found.place} | detail
    return Done(found, f"queue:{row.id}", project=row.project, environment=row.environment, detail=place)


def _key(project: Project | None, environment: Environment | None) -> str:
    return f"{project.id if project else ''}/{environment.id if environment else ''}"


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        "queue.pause",
        "Let nothing begin in the hub, a project or an environment; what runs goes on",
        PauseBody,
        PauseView,
        Permission.QUEUE_EDIT,
        _pause,
        _place_scopes,
    ),
    Operation(
        "queue.resume",
        "Let tasks begin there again",
        ResumeBody,
        PauseView,
        Permission.QUEUE_EDIT,
        _resume,
        _place_scopes,
    ),
    Operation(
        "task.prioritise",
        "Let a queued task go before others, or behind them",
        PrioritiseBody,
        Prioritised,
        Permission.QUEUE_EDIT,
        _prioritise,
        _prioritise_scopes,
    ),
)

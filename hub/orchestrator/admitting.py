"""The queue in its rows: what waits, what has begun, what is paused; admission.py says whose turn it is.

    a task is asked for  ->  hold: it begins in the same transaction, or stands in the queue with the reason why
    a task ended, a pause ended, two seconds passed  ->  chosen: who begins now

On PostgreSQL one lock is held by whoever lets tasks in, until his commit: of two nodes neither sees what the other has
not committed, and both would give away the last place. A task that is asked for never waits for it, since its
transaction may hold rows that the other one wants. On SQLite the writer's lock is ours already.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from peewee import JOIN, fn

from hub.errors import Conflict
from hub.orchestrator import admission
from hub.orchestrator.admission import Asked, Begun, Block, Line, Pause, Rules, Why
from hub.states import Priority, TaskKind, TaskState
from hub.storage.database import is_postgres
from hub.storage.models import (
    Environment,
    Job,
    Node,
    Project,
    QueueLine,
    QueuePause,
    TargetEnvironment,
    Task,
    User,
)
from hub.storage.models.table import database_proxy
from hub.storage.prepared import Prepared

# A look at a machine changes nothing there, and must not wait behind what does: it takes no place.
COUNTED = (TaskKind.DEPLOYMENT, TaskKind.PREVIEW, TaskKind.SCRIPT_RUN)
AT_ONCE = 20

_BEGUN = (TaskState.RUNNING, TaskState.WAITING, TaskState.CANCELLING)
_LOCK = 0x4D414E59_41524D02  # "MANYARM" 2.
_ROWS_AT_ONCE = 500
_START = (0, "")

_BEGUN_ROWS = Prepared(
    lambda: (
        Task.select(Task.id, Task.title, Task.project, Task.concurrency_key, Task.parent)
        .where(Task.state.in_(_BEGUN), Task.kind.in_(COUNTED))
        .order_by(Task.started_at, Task.id)
    )
)
_WAITING = Prepared(lambda: Task.select(Task.id).where(Task.state == TaskState.QUEUED).limit(1))
_PAUSES = Prepared(
    lambda: (
        QueuePause.select(
            QueuePause.project,
            QueuePause.environment,
            QueuePause.reason,
            QueuePause.created_at,
            Project.name,
            Environment.name,
            User.name,
        )
        .join(Project, JOIN.LEFT_OUTER, on=(Project.id == QueuePause.project))
        .switch(QueuePause)
        .join(Environment, JOIN.LEFT_OUTER, on=(Environment.id == QueuePause.environment))
        .switch(QueuePause)
        .join(User, JOIN.LEFT_OUTER, on=(User.id == QueuePause.paused_by))
        .order_by(QueuePause.created_at, QueuePause.id)
    )
)
_CAPS = Prepared(lambda: Project.select(Project.id, Project.tasks_at_once).where(Project.tasks_at_once.is_null(False)))
_NODES = Prepared(lambda: Node.select(fn.COUNT(Node.id)))


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """`tasks_at_once`: of each node. `patience_s`: admission.Rules. `wait_s`: then a task has waited in vain."""

    tasks_at_once: int = 200
    project_tasks_at_once: int = 100
    patience_s: int = 600
    wait_s: int = 86_400


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the queue a task is asked for. `parent`: the task that waits for it; "" for none."""

    priority: Priority = Priority.NORMAL
    parent: str = ""


class Admission:
    """Lets tasks in; inside the caller's `write_tx`."""

    def __init__(self, clock_ms: Callable[[], int], limits: QueueLimits) -> None:
        self._clock_ms = clock_ms
        self.limits = limits
        self._reworded_to = _START

    def hold(self, task: Task, targets: Collection[str]) -> str:
        """Why a fresh task must wait, in one sentence; "" if it may begin in this transaction.

        Args:
            task: Not stored yet.
            targets: Ids of all that it touches.
        """
        if task.kind not in COUNTED:
            return ""
        if not _lock(wait=False):
            return admission.TURN.sentence
        begun, rules = _begun(), self._rules()
        asked = _fresh(task, targets, rules.pauses)
        why = admission.why_queued(asked, begun, rules)
        if why or not is_anything_queued():
            return why
        return "" if asked in self._choose(begun, rules, also=asked) else admission.TURN.sentence

    def chosen(self) -> list[str]:
        """The tasks that begin now, as many as one transaction should begin; waits for the lock."""
        _lock(wait=True)
        if not is_anything_queued():
            return []
        chosen = self._choose(_begun(), self._rules())
        now_ms = self._clock_ms()
        for one in {one.line: one for one in chosen}.values():
            _note_turn(one.line, now_ms)
        return [one.task for one in chosen]

    def reworded(self) -> dict[str, str]:
        """The sentences of queued tasks that differ from those in their rows; of a long queue a part each time."""
        rows = _queued_rows(_behind(self._reworded_to))
        self._reworded_to = (rows[-1][2], rows[-1][0]) if len(rows) == _ROWS_AT_ONCE else _START
        blocks = admission.blocks(_asked(rows), _begun(), self._rules())
        return {row[0]: blocks[row[0]].sentence for row in rows if blocks[row[0]].sentence != row[8]}

    def _choose(self, begun: Sequence[Begun], rules: Rules, also: Asked | None = None) -> tuple[Asked, ...]:
        if any(not pause.project and not pause.environment for pause in rules.pauses):
            return ()
        waiting = _candidates(begun, rules)
        asked = [*waiting, *([also] if also else [])]
        return admission.admit(asked, begun, rules, _turns(), self._clock_ms(), at_most=AT_ONCE)

    def _rules(self) -> Rules:
        limits = self.limits
        nodes = int(_NODES.tuples()[0][0]) if is_postgres() else 1
        return Rules(
            hub_cap=limits.tasks_at_once * max(nodes, 1),
            project_cap=limits.project_tasks_at_once,
            project_caps=dict(_CAPS.tuples()),
            pauses=pauses(),
            patience_ms=limits.patience_s * 1000,
        )


def is_anything_queued() -> bool:
    return _WAITING.first() is not None


def pauses() -> list[Pause]:
    """What is paused now, oldest first."""
    return [
        Pause(
            place=place_of(project_name, environment_name),
            by=user or "somebody who is gone",
            since_ms=since_ms,
            reason=reason,
            project=project or "",
            environment=environment or "",
        )
        for project, environment, reason, since_ms, project_name, environment_name, user in _PAUSES.tuples()
    ]


def place_of(project: str | None, environment: str | None) -> str:
    """In words, by names."""
    if project and environment:
        return f"project {project} in {environment}"
    if project:
        return f"project {project}"
    return f"environment {environment}" if environment else "the hub"


def block_of(task: Task) -> Block:
    """Why a queued task waits, for who asks; a place that is missing is told in the words of its row."""
    found = admission.blocks(
        _asked(_queued_rows(Task.id == task.id)), _begun(), Rules(_UNLIMITED, _UNLIMITED, pauses=pauses())
    )
    block = found.get(task.id, admission.TURN)
    return block if block.what is not Why.TURN else Block(Why.TURN, "", task.waiting_for or block.sentence)


def refuse_endless(task: Task) -> None:
    """Raise Conflict where a fresh task's parent cannot wait for it, or would wait for ever."""
    if not task.parent:
        return
    begun = _begun()
    parents = admission.lineage(task.parent, begun)
    if not parents:
        raise Conflict("only a task that runs can wait for another one", field="parent", code="PARENT_NOT_RUNNING")
    if len(parents) >= admission.DEPTH_MAX:
        words = f"tasks may wait for one another {admission.DEPTH_MAX} deep, and this one would be deeper"
        raise Conflict(words, field="parent", code="TOO_DEEP")
    ahead = admission.circle(_fresh(task, (), ()), begun, _asked(_children()))
    if ahead:
        words = f"it would wait for {ahead}, which waits for the very task that would wait for this one"
        raise Conflict(words, field="parent", code="DEADLOCK")


_UNLIMITED = 1 << 30


def _lock(*, wait: bool) -> bool:
    if not is_postgres():
        return True
    if wait:
        database_proxy.obj.execute_sql("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        return True
    return bool(database_proxy.obj.execute_sql("SELECT pg_try_advisory_xact_lock(%s)", (_LOCK,)).fetchone()[0])


def _begun() -> list[Begun]:
    return [
        Begun(task, title, project or "", key, parent or "")
        for task, title, project, key, parent in _BEGUN_ROWS.tuples()
    ]


def _turns() -> dict[Line, int]:
    rows: Any = QueueLine.select(QueueLine.project, QueueLine.priority, QueueLine.turn_at).tuples()
    return {(project or "", Priority(priority)): at_ms for project, priority, at_ms in rows}


def _note_turn(line: Line, now_ms: int) -> None:
    project, priority = line
    QueueLine.insert(
        id=f"{project}:{int(priority)}", project=project or None, priority=int(priority), turn_at=now_ms
    ).on_conflict(conflict_target=[QueueLine.id], update={QueueLine.turn_at: now_ms}).execute()


def _fresh(task: Task, targets: Collection[str], paused: Sequence[Pause]) -> Asked:
    environments = {str(task.environment)} if task.environment else set()
    if not environments and any(pause.environment for pause in paused):
        rows: Any = TargetEnvironment.select(TargetEnvironment.environment).where(
            TargetEnvironment.target.in_(list(targets))
        )
        environments = {found for (found,) in rows.tuples()}
    name = Project.get_by_id(task.project).name if task.project else ""
    return Asked(
        task=task.id,
        title=task.title,
        since_ms=task.created_at,
        project=task.project or "",
        project_name=name,
        environments=frozenset(environments),
        key=task.concurrency_key,
        priority=Priority(task.priority),
        parent=task.parent or "",
    )


_COLUMNS = (
    Task.id, Task.title, Task.created_at, Task.project, Task.environment, Task.concurrency_key, Task.priority,
    Task.parent, Task.waiting_for, Project.name,
)  # fmt: skip


def _queued_rows(which: Any) -> list[tuple[Any, ...]]:
    """The oldest of those, as many as are looked at at once."""
    return list(_queued(which).limit(_ROWS_AT_ONCE).tuples())


def _children() -> list[tuple[Any, ...]]:
    return list(_queued(Task.parent.is_null(False)).tuples())


def _queued(which: Any) -> Any:
    return (
        Task.select(*_COLUMNS)
        .join(Project, JOIN.LEFT_OUTER, on=(Project.id == Task.project))
        .where(Task.state == TaskState.QUEUED, which)
        .order_by(Task.created_at, Task.id)
    )


def _behind(mark: tuple[int, str]) -> Any:
    at_ms, task = mark
    return (Task.created_at > at_ms) | ((Task.created_at == at_ms) & (Task.id > task))


def _asked(rows: Sequence[tuple[Any, ...]]) -> list[Asked]:
    places = _environments_of([row[0] for row in rows if row[4] is None])
    return [
        Asked(
            task=task,
            title=title,
            since_ms=since_ms,
            project=project or "",
            project_name=name or "",
            environments=frozenset({environment}) if environment else places.get(task, frozenset()),
            key=key,
            priority=Priority(priority),
            parent=parent or "",
        )
        for task, title, since_ms, project, environment, key, priority, parent, _, name in rows
    ]


def _environments_of(tasks: Sequence[str]) -> Mapping[str, frozenset[str]]:
    """Of script runs: the environments of their targets; only asked where one of them is paused."""
    if not tasks or not QueuePause.select().where(QueuePause.environment.is_null(False)).exists():
        return {}
    rows: Any = (
        Job.select(Job.task, TargetEnvironment.environment)
        .join(TargetEnvironment, on=(TargetEnvironment.target == Job.target))
        .where(Job.task.in_(list(tasks)))
        .distinct()
        .tuples()
    )
    found: dict[str, set[str]] = {}
    for task, environment in rows:
        found.setdefault(task, set()).add(environment)
    return {task: frozenset(environments) for task, environments in found.items()}


def _candidates(begun: Sequence[Begun], rules: Rules) -> list[Asked]:
    """Those of whom some may begin: the first of each line and key, more where there is no key, and all children.

    What is paused, full or locked out is left out here, in the database: a queue may be long.
    """
    room = min(rules.hub_cap - len(begun) + sum(1 for one in begun if one.parent), AT_ONCE)
    if room <= 0:
        return _asked(_children())
    place = fn.ROW_NUMBER().over(
        partition_by=[Task.project, Task.priority, Task.concurrency_key], order_by=[Task.created_at, Task.id]
    )
    columns = (Task.id.alias("id"), Task.parent.alias("parent"), Task.concurrency_key.alias("key"))
    free = Task.select(*columns, place.alias("place")).where(
        Task.state == TaskState.QUEUED, *_not_paused(rules.pauses), *_not_locked_out(begun, rules)
    )
    rows: Any = (
        Task.select(*_COLUMNS)
        .join(free, on=(free.c.id == Task.id))
        .switch(Task)
        .join(Project, JOIN.LEFT_OUTER, on=(Project.id == Task.project))
        .where((free.c.place == 1) | ((free.c.key == "") & (free.c.place <= room)) | free.c.parent.is_null(False))
        .order_by(Task.created_at, Task.id)
        .tuples()
    )
    return _asked(list(rows))


def _not_paused(paused: Sequence[Pause]) -> list[Any]:
    # A column that is null is neither equal nor unequal.
    return [fn.COALESCE(_held(pause), False) == False for pause in paused]  # noqa: E712  An expression of the database's.


def _held(pause: Pause) -> Any:
    in_project, there = Task.project == pause.project, fn.COALESCE(Task.environment == pause.environment, False)
    if not pause.environment:
        return in_project
    if pause.project:
        return in_project & there
    touches = (
        Job.select(Job.id)
        .join(TargetEnvironment, on=(TargetEnvironment.target == Job.target))
        .where(Job.task == Task.id, TargetEnvironment.environment == pause.environment)
    )
    return there | (Task.environment.is_null() & fn.EXISTS(touches))


def _not_locked_out(begun: Sequence[Begun], rules: Rules) -> list[Any]:
    keys = {one.key for one in begun if one.key}
    taken: dict[str, int] = {}
    for one in begun:
        taken[one.project] = taken.get(one.project, 0) + (not one.parent)
    full = [project for project, count in taken.items() if project and count >= rules.cap_of(project)]
    conditions: list[Any] = []
    # A child may begin in its parent's place, and does not wait for its parents' keys.
    if keys:
        conditions.append(Task.concurrency_key.not_in(list(keys)) | Task.parent.is_null(False))
    if full:
        conditions.append(Task.project.is_null() | Task.project.not_in(full) | Task.parent.is_null(False))
    return conditions

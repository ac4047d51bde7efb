"""Tasks in the state in which people see them: what no engine looks after any more is not said to be under way.

A row says `running` until an engine writes something else. Where none does, though a deadline of the task is past, the
task is shown as waiting, for the engine; that it runs is what nobody knows.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from peewee import Expression, fn

from hub.orchestrator import waiting, waits
from hub.states import TaskState
from hub.storage.models import Task, now_ms

_UNDER_WAY = frozenset({TaskState.RUNNING, TaskState.CANCELLING})


@dataclass(frozen=True, slots=True)
class Shown:
    state: TaskState
    waiting_for: str


def shown(rows: Iterable[Task]) -> dict[str, Shown]:
    """By the tasks' ids; one query for all of them, none where none is under way."""
    found, at_ms = list(rows), now_ms()
    under_way = [row.id for row in found if row.state in _UNDER_WAY]
    unattended = waiting.unattended(under_way, at_ms) if under_way else {}
    return {row.id: _shown(row, unattended.get(row.id), at_ms) for row in found}


def shown_one(row: Task) -> Shown:
    return shown([row])[row.id]


def is_shown_as(states: Iterable[str]) -> Expression:
    """The condition on tasks that they are shown in one of these states."""
    wanted, unattended = list(states), waiting.is_unattended(now_ms())
    condition: Expression = (Task.state << wanted) & ~unattended
    return condition | unattended if TaskState.WAITING in wanted else condition


def counts(which: Expression) -> dict[TaskState, int]:
    """How many tasks are shown in each state."""
    rows: Any = Task.select(Task.state, fn.COUNT(Task.id)).where(which).group_by(Task.state).tuples()
    found = {TaskState(state): int(count) for state, count in rows}
    overdue: Any = Task.select(Task.state, fn.COUNT(Task.id)).where(which, waiting.is_unattended(now_ms()))
    for state, count in list(overdue.group_by(Task.state).tuples()):
        found[TaskState(state)] -= count
        found[TaskState.WAITING] = found.get(TaskState.WAITING, 0) + count
    return found


def _shown(row: Task, due_ms: int | None, at_ms: int) -> Shown:
    if due_ms is None:
        return Shown(TaskState(row.state), row.waiting_for)
    return Shown(TaskState.WAITING, waits.unattended(due_ms, at_ms))

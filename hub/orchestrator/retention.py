"""Takes back the room of tasks that ended long ago: their logs, plans and files first; much later the rows of some.

    ended   log_keep_s later   its log, plan, outputs and files go; the row says since when
            history_keep_s     the row of a task that was no deployment goes too

Deployments stay as rows while their project stays: rollback and lifecycles read them all. What an environment stands on
keeps everything: the newest deployment of each project there, and the newest that succeeded.
"""

import logging
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from peewee import fn

from hub.events.record import SYSTEM, record
from hub.infrastructure.artifact_intake import FILE_KIND
from hub.states import TASK_ENDED, TaskKind, TaskState
from hub.storage.database import connection, write_tx
from hub.storage.files import FileStore
from hub.storage.models import Artifact, Deployment, LogBlock, OutputVariable, Plan, Progress, Task
from wire.crash import crash_point

logger = logging.getLogger(__name__)

# A transaction is never long: other writers wait for it.
_AT_ONCE = 50
_ROUND_MAX = 2_000


@dataclass(frozen=True, slots=True)
class Kept:
    """How long, in milliseconds, counted from a task's end."""

    logs_ms: int
    history_ms: int


@dataclass(frozen=True, slots=True)
class TakenBack:
    """Of how many tasks."""

    cleared: int = 0
    removed: int = 0


def sweep(files: FileStore, kept: Kept, now_ms: int) -> TakenBack:
    """One round, of a bounded number of tasks; the engine runs it each hour.

    Args:
        files: The artifacts.
        kept: How long.
        now_ms: UTC milliseconds.
    """
    with connection():
        cleared = removed = 0
        while cleared < _ROUND_MAX and (tasks := _to_clear(now_ms - kept.logs_ms)):
            _clear(files, tasks, now_ms)
            cleared += len(tasks)
        while removed < _ROUND_MAX and (tasks := _to_remove(now_ms - kept.history_ms)):
            _remove(tasks)
            removed += len(tasks)
    if cleared or removed:
        logger.info("old tasks taken back", extra={"cleared": cleared, "removed": removed})
    return TakenBack(cleared, removed)


def _to_clear(before_ms: int) -> list[str]:
    return _ids(
        Task.state.in_(list(TASK_ENDED)),
        Task.ended_at < before_ms,
        Task.cleared_at.is_null(),
        Task.id.not_in(_newest(TASK_ENDED)),
        Task.id.not_in(_newest({TaskState.SUCCEEDED})),
    )


def _to_remove(before_ms: int) -> list[str]:
    # Its content goes first, so that no file is left behind.
    return _ids(Task.kind != TaskKind.DEPLOYMENT, Task.cleared_at.is_null(False), Task.ended_at < before_ms)


def _ids(*conditions: Any) -> list[str]:
    rows: Any = Task.select(Task.id).where(*conditions).order_by(Task.ended_at).limit(_AT_ONCE).tuples()
    return [task for (task,) in rows]


def _newest(states: AbstractSet[TaskState]) -> Any:
    """Of each project in each environment the newest deployment in one of the states: its task."""
    newest = (
        Deployment.select(Deployment.project, Deployment.environment, fn.MAX(Deployment.created_at).alias("at"))
        .join(Task, on=(Task.id == Deployment.task))
        .where(Task.state.in_(list(states)))
        .group_by(Deployment.project, Deployment.environment)
        .alias("newest")
    )
    return Deployment.select(Deployment.task).join(
        newest,
        on=(
            (Deployment.project == newest.c.project_id)
            & (Deployment.environment == newest.c.environment_id)
            & (Deployment.created_at == newest.c.at)
        ),
    )


def _clear(files: FileStore, tasks: Sequence[str], now_ms: int) -> None:
    """Files go before their rows: a crash between the two leaves rows, which the next round finds."""
    stored: Any = Artifact.select(Artifact.id).where(Artifact.task.in_(list(tasks))).tuples()
    for (artifact,) in stored:
        files.remove(FILE_KIND, artifact)
    crash_point("retention.files-removed")
    with write_tx():
        for table in (LogBlock, Plan, Progress, OutputVariable, Artifact):
            table.delete().where(table.task.in_(list(tasks))).execute()
        Task.update(cleared_at=now_ms, log_lines=0, version=Task.version + 1).where(Task.id.in_(list(tasks))).execute()
        record("tasks.cleared", "tasks", actor=SYSTEM, detail={"tasks": list(tasks)})


def _remove(tasks: Sequence[str]) -> None:
    with write_tx():
        Task.delete().where(Task.id.in_(list(tasks))).execute()
        record("tasks.removed", "tasks", actor=SYSTEM, detail={"tasks": list(tasks)})

"""Gives each task its turn: when something ended, when the queue was changed, and once a second.

What frees a place says so after its commit, and the next begins in a transaction of its own: it takes the queue's lock
before any task's rows, so that nobody waits for the one while he holds the other.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from hub.events.record import SYSTEM, record
from hub.orchestrator.admitting import AT_ONCE, Admission, is_anything_queued
from hub.states import JobState, TaskState
from hub.storage.database import connection, current_transaction, database_is_away, is_postgres, write_tx
from hub.storage.models import Job, Task, Timer

logger = logging.getLogger(__name__)


class Turns:
    """One for a process.

    Args:
        admission: Says who.
        start: Begins a task; inside `write_tx`.
        clock_ms: The time.
    """

    def __init__(self, admission: Admission, start: Callable[[str], None], clock_ms: Callable[[], int]) -> None:
        self._admission = admission
        self._start = start
        self._clock_ms = clock_ms

    def place_freed(self) -> None:
        """After this commit others may begin."""
        acts = current_transaction().after_commit
        if self._admit_safely not in acts:
            acts.append(self._admit_safely)

    def queue_changed(self) -> None:
        """After this commit others may begin, and wait for other reasons."""
        current_transaction().after_commit.append(self._look_safely)

    def look_after(self) -> None:
        """Begin what may begin, if a commit forgot to, and tell the others why they wait now."""
        if not is_anything_queued():
            return
        self.admit()
        with write_tx():
            for task, words in self._admission.reworded().items():
                Task.update(waiting_for=words, version=Task.version + 1).where(
                    Task.id == task, Task.state == TaskState.QUEUED
                ).execute()

    def admit(self) -> int:
        """Begin what may begin now; returns how many tasks did."""
        begun = 0
        while is_postgres() or is_anything_queued():
            with write_tx():
                chosen = self._admission.chosen()
                for task in chosen:
                    self._begin(task)
                self._fail_stuck(chosen)
            begun += len(chosen)
            if len(chosen) < AT_ONCE:
                break
        return begun

    def _begin(self, task: str) -> None:
        """One that cannot be read must not keep all others from beginning."""
        try:
            with write_tx():
                self._start(task)
        except Exception as error:
            if database_is_away(error):
                raise
            logger.exception("a queued task could not begin", extra={"task": task})

    def _fail_stuck(self, chosen: Sequence[str]) -> None:
        rows: Any = Task.select().where(Task.id.in_(list(chosen)), Task.state == TaskState.QUEUED) if chosen else ()
        for row in rows:
            failure = "its turn came and it could not begin: its plan is gone or was altered; the hub's log says more"
            ended = {"state": TaskState.FAILED, "failure": failure, "waiting_for": "", "ended_at": self._clock_ms()}
            Task.update(version=Task.version + 1, **ended).where(Task.id == row.id).execute()
            Job.update(state=JobState.SKIPPED).where(Job.task == row.id, Job.state == JobState.PLANNED).execute()
            Timer.delete().where(Timer.task == row.id).execute()
            record(
                f"{row.kind}.{TaskState.FAILED}",
                f"task:{row.id}",
                actor=SYSTEM,
                outcome="failed",
                project=row.project,
                environment=row.environment,
                detail={"failure": failure},
            )
            self.place_freed()

    def _admit_safely(self) -> None:
        _safely(self.admit)

    def _look_safely(self) -> None:
        _safely(self.look_after)


def _safely(act: Callable[[], object]) -> None:
    try:
        with connection():
            act()
    except Exception:
        # What was committed stands; the clock looks after the queue again in a moment.
        logger.exception("looking after the queue failed")

"""Results that wait for the log before them: a task must not end before its last line can be read.

Log and result come by two queues. A result that is ahead of its log is kept here, unacknowledged (so a crash loses
nothing), until the log's thread has the last record in, or its time is over.
"""

from dataclasses import dataclass
from threading import Lock
from typing import Any

from hub.orchestrator.opening import Opened
from hub.storage.models import Job
from wire.connection import Delivery

HELD_MAX = 400


@dataclass(frozen=True, slots=True)
class HeldResult:
    opened: Opened
    records: int
    due_ms: int


class HeldResults:
    """Shared by the thread of results and that of logs; each changes it while it holds the rows of the jobs."""

    def __init__(self) -> None:
        self._held: dict[str, HeldResult] = {}
        self._settled: list[Delivery] = []
        self._lock = Lock()

    def hold(self, opened: Opened, records: int, due_ms: int) -> bool:
        """Keep it; False where there is no room, or another result of the job is kept."""
        with self._lock:
            if len(self._held) >= HELD_MAX or opened.cid in self._held:
                return False
            self._held[opened.cid] = HeldResult(opened, records, due_ms)
            return True

    def reached(self, cid: str, records: int) -> Opened | None:
        """The kept result of a job whose log has so many records in, if that is all of them."""
        with self._lock:
            found = self._held.get(cid)
        return found.opened if found is not None and records >= found.records else None

    def come_elsewhere(self) -> list[Opened]:
        """Those whose log is in, as the rows say: another engine takes the logs."""
        with self._lock:
            waiting = dict(self._held)
        if not waiting:
            return []
        rows: Any = Job.select(Job.id, Job.log_next_record).where(Job.id.in_(list(waiting))).tuples()
        return [waiting[cid].opened for cid, records in rows if records >= waiting[cid].records]

    def overdue(self, now_ms: int) -> list[Opened]:
        with self._lock:
            return [found.opened for found in self._held.values() if found.due_ms <= now_ms]

    def settle(self, opened: Opened) -> None:
        """It was counted and committed: to be acknowledged by whoever took it."""
        with self._lock:
            if self._held.pop(opened.cid, None) is not None:
                self._settled.append(opened.delivery)

    def drop(self, opened: Opened) -> None:
        """Its transaction failed; the delivery is dealt with again."""
        with self._lock:
            self._held.pop(opened.cid, None)

    def take_settled(self) -> list[Delivery]:
        with self._lock:
            settled, self._settled = self._settled, []
        return settled

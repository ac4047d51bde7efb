"""Looks for new log lines of every task that somebody watches: one thread a process, a query or two a round.

    task row changed -> new lines read once -> ring of the task -> every watcher's thread takes from it

It starts with the first watcher and rests when there is none.
"""

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass, field

from hub.errors import Unavailable
from hub.orchestrator import task_log
from hub.orchestrator.task_log import LogLine
from hub.queries.shown import shown
from hub.states import TASK_ENDED
from hub.storage.database import connection
from hub.storage.models import Task
from hub.storage.vault import Vault

logger = logging.getLogger(__name__)

_RING_LINES = 5_000
_READ_LINES = 1_000
_READS_A_ROUND = 5


@dataclass(slots=True)
class Watched:
    """What is known of one task; `version` counts its states.

    `ended`: it has, and all its lines are in the ring or behind it.
    """

    task: str
    watchers: int = 0
    state: dict[str, object] = field(default_factory=dict)
    version: int = -1
    ended: bool = False
    last_line: int = 0
    ring: deque[LogLine] = field(default_factory=lambda: deque(maxlen=_RING_LINES))


class LogPoller:
    """Thread-safe.

    Args:
        vault: One that holds `content`.
        streams: How many watchers this process takes.
        poll_s: A line is on the wire after this, plus what reading takes.
    """

    def __init__(self, vault: Vault, *, streams: int = 200, poll_s: float = 0.1) -> None:
        self._vault = vault
        self._streams = streams
        self._poll_s = poll_s
        self._changed = threading.Condition()
        self._watched: dict[str, Watched] = {}
        self._thread: threading.Thread | None = None

    def watch(self, task: str) -> Watched:
        """Count one more watcher.

        Raises:
            Unavailable: there are as many streams as this process takes.
        """
        with self._changed:
            if sum(found.watchers for found in self._watched.values()) >= self._streams:
                raise Unavailable("too many live logs are open; try again in a moment", code="TOO_MANY_STREAMS")
            watched = self._watched.setdefault(task, Watched(task))
            watched.watchers += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log-poller", daemon=True)
                self._thread.start()
            return watched

    def leave(self, watched: Watched) -> None:
        with self._changed:
            watched.watchers -= 1
            if watched.watchers == 0:
                self._watched.pop(watched.task, None)

    def wait(self, watched: Watched, version: int, seen: int, timeout_s: float) -> None:
        """Until there is a newer state, the end, or a line behind `seen`, or the time is over."""
        with self._changed:
            self._changed.wait_for(
                lambda: watched.version != version or watched.last_line > seen or watched.ended, timeout_s
            )

    def lines(self, watched: Watched, seen: int) -> list[LogLine]:
        """The next lines behind `seen`: from the ring where it reaches back that far, else from the database."""
        with self._changed:
            if watched.last_line <= seen:
                return []
            ring = list(watched.ring) if watched.ring and watched.ring[0].seq <= seen + 1 else []
        if ring:
            return [line for line in ring if line.seq > seen]
        with connection():
            return task_log.read(self._vault, watched.task, after=seen, limit=_READ_LINES)[0]

    def _run(self) -> None:
        while True:
            started = time.monotonic()
            with self._changed:
                watched = list(self._watched.values())
                if not watched:
                    self._thread = None
                    return
            try:
                with connection():
                    self._look(watched)
            except Exception:
                # The top of the loop: a database that is away for a moment ends no stream.
                logger.exception("looking for log lines failed")
            time.sleep(max(0.01, self._poll_s - (time.monotonic() - started)))

    def _look(self, watched: list[Watched]) -> None:
        by_task = {found.task: found for found in watched}
        columns = (Task.id, Task.state, Task.waiting_for, Task.version, Task.log_lines)
        rows = list(Task.select(*columns).where(Task.id << list(by_task)))
        seen = shown(rows)
        for row in rows:
            found = by_task[row.id]
            new = self._new_lines(found, row.log_lines)
            with self._changed:
                if new:
                    found.ring.extend(new)
                    found.last_line = new[-1].seq
                state = {"state": str(seen[row.id].state), "waiting_for": seen[row.id].waiting_for}
                if (row.version, state["state"]) != (found.state.get("version"), found.state.get("state")):
                    found.state = {**state, "version": row.version}
                    found.version += 1
                # Only after its lines: a stream never ends before the last one.
                found.ended = row.state in TASK_ENDED and row.log_lines <= found.last_line
                self._changed.notify_all()

    def _new_lines(self, found: Watched, newest: int) -> list[LogLine]:
        # A ring that begins in the middle serves whoever follows; the past is read by whoever asks for it.
        after = found.last_line if found.ring else max(found.last_line, newest - _READ_LINES)
        new: list[LogLine] = []
        for _ in range(_READS_A_ROUND):
            if newest <= after:
                break
            lines, _ = task_log.read(self._vault, found.task, after=after, limit=_READ_LINES)
            if not lines:
                break
            new += lines
            after = lines[-1].seq
        return new

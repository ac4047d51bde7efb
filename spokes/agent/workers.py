"""Threads that do one thing after another and never keep the process from leaving."""

import logging
import queue
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)

_IDLE_S = 60.0


class Workers:
    """At most `most` threads, started as they are needed and let go when they are not; what waits when the process
    leaves is not begun.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._waiting: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._count = 0
        self._busy = 0
        self._due = 0

    def submit(self, work: Callable[[], None]) -> None:
        """`work` handles its own faults; one that it does not costs no thread."""
        with self._lock:
            self._due += 1
            self._waiting.put(work)
            if self._due > self._count - self._busy and self._count < self._most:
                self._count += 1
                threading.Thread(target=self._run, name=f"{self._name} {self._count}", daemon=True).start()

    @property
    def free(self) -> int:
        """How many more would begin at once."""
        with self._lock:
            return self._most - self._busy - self._due

    def _run(self) -> None:
        while True:
            try:
                work = self._waiting.get(timeout=_IDLE_S)
            except queue.Empty:
                if self._may_go():
                    return
                continue
            self._note(busy=1, due=-1)
            try:
                work()
            except Exception:
                logger.exception("a fault that nobody handled", extra={"worker": self._name})
            self._note(busy=-1)

    def _note(self, *, busy: int, due: int = 0) -> None:
        with self._lock:
            self._busy += busy
            self._due += due

    def _may_go(self) -> bool:
        """Whether nothing came in the last moment; what is put in under the lock is seen here."""
        with self._lock:
            if self._due:
                return False
            self._count -= 1
            return True

"""Threads that do one thing after another and never keep the process from leaving."""

import logging
import queue
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)


class Workers:
    """At most `most` threads, started as they are needed; what waits when the process leaves is not begun."""

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._waiting: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._count = 0

    def submit(self, work: Callable[[], None]) -> None:
        """`work` handles its own faults; one that it does not costs no thread."""
        with self._lock:
            if self._idle == 0 and self._count < self._most:
                self._count += 1
                threading.Thread(target=self._run, name=f"{self._name} {self._count}", daemon=True).start()
            else:
                self._idle = max(0, self._idle - 1)
        self._waiting.put(work)

    def _run(self) -> None:
        while True:
            work = self._waiting.get()
            try:
                work()
            except Exception:
                logger.exception("a fault that nobody handled", extra={"worker": self._name})
            with self._lock:
                self._idle += 1

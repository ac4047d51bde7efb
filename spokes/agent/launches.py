"""Starts that are under way: a daemon that leaves waits for them, so that no job is left half started."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Launches:
    """Used by all threads."""

    def __init__(self) -> None:
        self._count = 0
        self._changed = threading.Condition()

    @contextmanager
    def one(self) -> Iterator[None]:
        self.begin()
        try:
            yield
        finally:
            self.end()

    def begin(self) -> None:
        with self._changed:
            self._count += 1

    def end(self) -> None:
        with self._changed:
            self._count -= 1
            self._changed.notify_all()

    def wait_for_all(self, timeout_s: float) -> None:
        """Return when none is under way, or when time is up."""
        with self._changed:
            self._changed.wait_for(lambda: self._count == 0, timeout_s)

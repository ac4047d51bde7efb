"""Acknowledgements that are owed: each waits a moment, for a log or a result of its job says more than it does.

A job that is done within that moment costs the hub one message instead of two. What was owed when a daemon died is
asked for again: the command comes once more and is answered from the journal.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

WAITS_S = 0.25


@dataclass(frozen=True, slots=True)
class Owed:
    """`re` and `rh` name the message that is acknowledged."""

    cid: str
    re: str
    rh: str
    at: float


class Acks:
    """Used by all threads.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        # In the order in which they fall due.
        self._owed: dict[str, Owed] = {}

    def owe(self, cid: str, *, re: str, rh: str) -> None:
        with self._lock:
            self._owed[cid] = Owed(cid, re, rh, self._clock() + WAITS_S)

    def said(self, cid: str) -> None:
        """Something about this job went to the hub."""
        with self._lock:
            self._owed.pop(cid, None)

    def due(self, *, all_of_them: bool = False) -> list[Owed]:
        """Those that have waited long enough; they are owed no more."""
        now = self._clock()
        with self._lock:
            due = [owed for owed in self._owed.values() if all_of_them or owed.at <= now]
            for owed in due:
                del self._owed[owed.cid]
        return due

    def due_in_s(self, most: float) -> float:
        """Seconds until one is due, at most so many."""
        with self._lock:
            first = next(iter(self._owed.values()), None)
        return most if first is None else min(most, max(0.0, first.at - self._clock()))

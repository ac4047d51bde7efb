"""Crash points: places in the code, named once each, where a process ends itself by SIGKILL if it was told to.

    MANYARM_CRASH_AT=outbox.noted      there
    MANYARM_CRASH_AT=outbox.noted:3    there, when it comes by for the third time
    MANYARM_CRASH_AT=@FILE             as FILE says by then; whoever dies of it takes FILE away, so one process dies

It is what `kill -9` at that very line does: nothing is flushed, closed or told. Where the variable is unset, a point is
a call of a function that does nothing. The runner, which imports no other room, has its own: runner/crash.py.
"""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

VARIABLE = "MANYARM_CRASH_AT"


class CrashOrder:
    """What the variable says, and how often the point that it names has been passed."""

    def __init__(self, words: str) -> None:
        self._file = Path(words[1:]) if words.startswith("@") else None
        self._words = words
        self._stamp: tuple[int, int] | None = None
        self._passed = 0
        self._lock = threading.Lock()

    def __call__(self, name: str, /) -> None:
        """End this process if this is where."""
        with self._lock:
            wanted, _, times = self._told().partition(":")
            if name != wanted:
                return
            self._passed += 1
            if self._passed >= int(times or 1) and self._is_ours():
                os.write(2, f"crash point {name}\n".encode())
                os.kill(os.getpid(), signal.SIGKILL)

    def _told(self) -> str:
        if self._file is None:
            return self._words
        try:
            with self._file.open("rb") as file:
                status = os.fstat(file.fileno())
                words = file.read(200).decode("ascii", "replace").strip()
        except OSError:
            return ""
        stamp = (status.st_ino, status.st_mtime_ns)
        if stamp != self._stamp:
            self._stamp, self._passed = stamp, 0
        return words

    def _is_ours(self) -> bool:
        """Of several processes that come by, one dies."""
        if self._file is None:
            return True
        try:
            self._file.unlink()
        except OSError:
            return False
        return True


def _pass_by(_name: str, /) -> None:
    """What a point is for everybody but a test."""


crash_point: Callable[[str], None] = CrashOrder(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else _pass_by

"""Who a process is: by pid, start time and boot, so that a stranger with a used pid is never taken for ours."""

import contextlib
import os
import signal
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_PROC = Path("/proc")
# Fields of /proc/<pid>/stat, counted behind the name's closing bracket.
_STATE, _SESSION, _START_TIME = 0, 3, 19


@dataclass(frozen=True, slots=True)
class ProcessName:
    """A process, unmistakably."""

    pid: int
    start_time: int
    boot_id: str

    def open(self) -> int | None:
        """A pidfd of it if it lives, else None; the caller closes it."""
        if self.boot_id != boot_id() or self.pid <= 1:
            return None
        try:
            descriptor = os.pidfd_open(self.pid)
        except OSError:
            return None
        # Opened first, asked after: from here on the number cannot be another's.
        if start_time(self.pid) == self.start_time:
            return descriptor
        os.close(descriptor)
        return None


@lru_cache(maxsize=1)
def boot_id() -> str:
    return (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def start_time(pid: int) -> int | None:
    """Clock ticks since boot at which it started; None if it is gone or only waits to be buried."""
    fields = _stat(pid)
    return None if fields is None or fields[_STATE] in {"Z", "X"} else int(fields[_START_TIME])


def end_session(leader: ProcessName) -> int:
    """KILL every process of the session that a dead leader has left behind; returns how many."""
    if leader.boot_id != boot_id() or leader.pid <= 1:
        return 0
    # While a session has members the kernel gives its leader's number to nobody: another's pid means that none is left.
    holder = _stat(leader.pid)
    if holder is not None and int(holder[_START_TIME]) != leader.start_time:
        return 0
    ended = 0
    for pid in sorted(int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()):
        fields = _stat(pid)
        if fields is None or int(fields[_SESSION]) != leader.pid or int(fields[_START_TIME]) < leader.start_time:
            continue
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
            ended += 1
    return ended


def _stat(pid: int) -> list[str] | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text[text.rindex(")") + 1 :].split()

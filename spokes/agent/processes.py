"""Who a process is: by pid, start time and boot, so that a stranger with a used pid is never taken for ours."""

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_PROC = Path("/proc")
# Fields of /proc/<pid>/stat, counted behind the name's closing bracket.
_STATE, _PARENT, _SESSION, _START_TIME = 0, 1, 3, 19
# Whatever forks while we look is found by the next look.
_LOOKS = 20
_BETWEEN_LOOKS_S = 0.02


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


def end_job(leader: ProcessName, cid: str) -> int:
    """KILL every process that a dead supervisor has left behind; returns how many.

    Those are of its session, or have its job's id in the environment that they were started with (a daemon that made a
    session of its own, with whatever parent it has now), or stand below one of these. Ourselves, and what we have
    started, are not among them, though a job may have started us.

    Args:
        leader: The supervisor, which led a session.
        cid: The job's id.
    """
    if leader.boot_id != boot_id() or leader.pid <= 1:
        return 0
    ended: set[int] = set()
    for _ in range(_LOOKS):
        left = _left_behind(leader, b"MANYARM_JOB=" + cid.encode())
        if not left:
            break
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                ended.add(pid)
        time.sleep(_BETWEEN_LOOKS_S)
    return len(ended)


def _left_behind(leader: ProcessName, mark: bytes) -> set[int]:
    pids = [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]
    living = {pid: fields for pid in pids if (fields := _stat(pid)) is not None and fields[_STATE] not in {"Z", "X"}}
    # While a session has members the kernel gives its leader's number to nobody: another's pid means that none is left.
    holder = _stat(leader.pid)
    is_theirs = holder is None or int(holder[_START_TIME]) == leader.start_time
    children: dict[int, list[int]] = {}
    waiting = []
    for pid, fields in living.items():
        children.setdefault(int(fields[_PARENT]), []).append(pid)
        if pid == os.getpid() or int(fields[_START_TIME]) < leader.start_time:
            continue
        if (is_theirs and int(fields[_SESSION]) == leader.pid) or mark in _environment(pid):
            waiting.append(pid)
    found: set[int] = set()
    while waiting:
        pid = waiting.pop()
        if pid not in found and pid != os.getpid():
            found.add(pid)
            waiting += children.get(pid, [])
    return found


def _environment(pid: int) -> list[bytes]:
    """As it was when its program began; empty where it is not ours to read."""
    try:
        return (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _stat(pid: int) -> list[str] | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text[text.rindex(")") + 1 :].split()

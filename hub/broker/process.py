"""Knowing a process again by pid, start time and boot, so that a stranger who got its pid is never taken for it."""

import contextlib
import os
import resource
import select
import time
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class ProcessMark:
    """`start_time` in clock ticks since boot (Linux) or as the system tells it; `boot_id` "" where there is none."""

    pid: int
    start_time: str
    boot_id: str


def mark(pid: int) -> ProcessMark:
    """The mark of a process that runs now; one that is already gone gets a mark that never lives."""
    return ProcessMark(pid, _start_time(pid) or "gone", _boot_id())


def is_alive(known: ProcessMark) -> bool:
    """Not ended, not a zombie, and the very one."""
    return known.boot_id == _boot_id() and _start_time(known.pid) == known.start_time


def send(known: ProcessMark, number: int) -> None:
    """Signal it if it is still the very one."""
    if is_alive(known):
        with contextlib.suppress(ProcessLookupError):
            os.kill(known.pid, number)


def wait_gone(known: ProcessMark, timeout_s: float) -> bool:
    """Whether it ended in time."""
    deadline = time.monotonic() + timeout_s
    try:
        handle = os.pidfd_open(known.pid)
    except (OSError, AttributeError):
        handle = None
    try:
        while is_alive(known):
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            if handle is None:
                time.sleep(min(0.02, left_s))
            else:
                select.select([handle], [], [], min(1.0, left_s))
        return True
    finally:
        if handle is not None:
            os.close(handle)


def file_limit(wanted: int) -> int:
    """How many open files a child may be given, at most `wanted`."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)


def _start_time(pid: int) -> str | None:
    """None for one that is gone or a zombie."""
    with contextlib.suppress(OSError, IndexError):
        # The name may hold spaces and brackets; the fields after the last bracket are plain.
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if words[0] in "ZX" else words[19]
    if Path("/proc/self/stat").exists():
        return None
    with contextlib.suppress(psutil.Error):
        return str(psutil.Process(pid).create_time())
    return None


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""

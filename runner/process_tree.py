"""The processes of a job: finding all of them, and ending all of them.

The supervisor is a child subreaper: whatever a script starts, however often it forks, stays below the supervisor in the
process tree. So the tree is complete, sessions and groups of a script's own making included.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Collection, Dict, List, Set

from runner.errors import FolderRefused

_PR_SET_CHILD_SUBREAPER = 36
# After KILL a process is gone at once, unless the kernel holds it (or it is not ours to end).
KILL_PATIENCE_S = 5.0


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    name: str
    is_zombie: bool
    cpu_ticks: int
    start_time: int


def become_subreaper() -> None:
    """Make every orphan below this process its child.

    Raises:
        FolderRefused: the system has no such thing, so that ending a job could not be promised.
    """
    import ctypes  # late: beside the worker, which reads its job meanwhile

    if not Path("/proc/self").is_dir():
        raise FolderRefused("this system has no /proc, by which the runner finds the processes of a job")
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise FolderRefused(f"this system lets no process adopt orphans: {os.strerror(ctypes.get_errno())}")


def descendants(root: int, spared: Collection[int] = ()) -> List[Process]:
    """Every process below `root`, zombies included; those spared, and what is below them, left aside."""
    children: Dict[int, List[Process]] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208  a plain list of names, ten times faster
        process = _read(entry) if entry.isdigit() else None
        if process is not None:
            children.setdefault(process.parent, []).append(process)
    found: List[Process] = []
    waiting = [root]
    while waiting:
        for process in children.get(waiting.pop(), ()):
            if process.pid in spared:
                continue
            found.append(process)
            waiting.append(process.pid)
    return found


def children(pid: int) -> List[int] | None:
    """The children of a process without threads, dead ones that nobody has buried included.

    None where the process is gone, or the kernel keeps no such list (CONFIG_PROC_CHILDREN).
    """
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as stream:  # noqa: PTH123  the same
            return [int(child) for child in stream.read().split()]
    except OSError:
        return None


def cpu_seconds(processes: List[Process]) -> float:
    """Processor time of these processes and of the children that they have waited for."""
    return sum(process.cpu_ticks for process in processes) / os.sysconf("SC_CLK_TCK")


class TreeEnding:
    """Ends everything below this process: TERM, a grace, then KILL until nothing is left or patience is.

    Those spared go on, those that join them meanwhile too.
    """

    def __init__(self, grace_s: float, now: float, spared: Collection[int] = ()) -> None:
        self._spared = spared
        self._kill_at = now + grace_s
        self._give_up_at = self._kill_at + KILL_PATIENCE_S
        self._met: Set[int] = set()
        self._survivors: List[Process] = []
        self._send(signal.SIGTERM, self._alive())

    def is_over(self, now: float) -> bool:
        """Look again, and end what is due; True once nothing is left or nothing more can be done."""
        alive = self._alive()
        if alive and now >= self._kill_at:
            self._send(signal.SIGKILL, alive)
        self._survivors = alive
        return not alive or now >= self._give_up_at

    @property
    def ended_processes(self) -> int:
        return len(self._met) - len(self._survivors)

    @property
    def survivors(self) -> List[str]:
        return [f"{process.pid} {process.name}" for process in self._survivors]

    def _alive(self) -> List[Process]:
        alive = [process for process in descendants(os.getpid(), self._spared) if not process.is_zombie]
        self._met.update(process.pid for process in alive)
        return alive

    @staticmethod
    def _send(number: signal.Signals, processes: List[Process]) -> None:
        for process in processes:
            # A process may end by itself meanwhile, or belong to another user: then it is a survivor.
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, number)
                if number is signal.SIGTERM:
                    os.kill(process.pid, signal.SIGCONT)


def _read(entry: str) -> Process | None:
    try:
        with open(f"/proc/{entry}/stat", "rb") as stream:  # noqa: PTH123  the same
            stat = stream.read()
    except OSError:
        return None
    opening, closing = stat.index(b"("), stat.rindex(b")")
    fields = stat[closing + 2 :].split()
    return Process(
        pid=int(entry),
        parent=int(fields[1]),
        name=stat[opening + 1 : closing].decode("utf-8", "replace"),
        is_zombie=fields[0] in (b"Z", b"X"),
        cpu_ticks=sum(map(int, fields[11:15])),
        start_time=int(fields[19]),
    )

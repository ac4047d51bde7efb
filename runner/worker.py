"""The worker: the forked process that does a step's work, so that the supervisor stays free to listen and to end it.

It is forked before there is a job, by a supervisor that has everything imported and has read nothing; then it is told
its job over a socket, and a script is one `exec` away.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
from dataclasses import dataclass
from typing import Callable, Mapping, Tuple

from runner.channel import SupervisorChannel, WorkerChannel
from runner.job_folder import JobFolder

# The kernel's largest pipe for anybody: a script that prints fast need not wait for us.
PIPE_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Worker:
    """A worker as its supervisor holds it.

    Args:
        pid: Its process.
        control: Where it is told its job, and tells what it does.
        service: The supervisor's end of MANYARM_FD.
        stdout, stderr: What it and its scripts print; not blocking.
        turn: Both ends of the pipe whose byte is the right to ask over MANYARM_FD.
    """

    pid: int
    control: SupervisorChannel
    service: socket.socket
    stdout: int
    stderr: int
    turn: Tuple[int, int]

    def tell(self, folder: JobFolder, secrets: Mapping[str, str], token: str) -> None:
        """The job of a claimed folder, for it to read meanwhile; the token marks this run's service lines."""
        self.control.answer({"folder": str(folder.path), "secrets": dict(secrets), "token": token})

    def go(self) -> None:
        """Let it begin."""
        self.control.answer({})

    def close(self) -> None:
        """Let go of it; one that was not told to begin leaves."""
        self.control.close()
        self.service.close()
        for descriptor in (self.stdout, self.stderr, *self.turn):
            os.close(descriptor)


def fork_worker(first: Callable[[], None] | None = None) -> Worker:
    """Fork a worker that waits for its job, and does this first."""
    out_read, out_write = _pipe()
    err_read, err_write = _pipe()
    ours, theirs = socket.socketpair()
    desk_end, script_end = socket.socketpair()
    turn = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            # Nothing of the supervisor's stays open here, should the worker outlive it.
            ours.close()
            desk_end.close()
            _become_worker(out_write, err_write, not_ours=(out_read, err_read))
            if first is not None:
                first()
            from runner.work import do_what_comes  # late: what it imports it imports beside the supervisor

            channel = WorkerChannel(theirs)
            do_what_comes(channel, script_end.fileno(), turn)
            # To take this process apart takes the kernel a while, and a core; the outcome comes first.
            channel.leave()
        except BaseException:  # noqa: BLE001  the top of a process: whatever happened, it must not return into the fork's stack
            os._exit(1)
        os._exit(0)
    for descriptor in (out_write, err_write):
        os.close(descriptor)
    theirs.close()
    script_end.close()
    for descriptor in (out_read, err_read):
        os.set_blocking(descriptor, False)
    return Worker(pid, SupervisorChannel(ours), desk_end, out_read, err_read, turn)


def _become_worker(stdout: int, stderr: int, not_ours: Tuple[int, ...]) -> None:
    for descriptor in not_ours:
        os.close(descriptor)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    # What a deployment makes is for others to read; what the supervisor makes is not.
    os.umask(0o022)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (stdout, 1), (stderr, 2)):
        os.dup2(source, target)


def _pipe() -> Tuple[int, int]:
    reading, writing = os.pipe()
    with contextlib.suppress(OSError):
        fcntl.fcntl(writing, 1031, PIPE_BYTES)  # F_SETPIPE_SZ, named by Python from 3.10 on
    return reading, writing

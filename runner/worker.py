"""The worker: the forked process that does a step's work, so that the supervisor stays free to listen and to end it."""

from __future__ import annotations

import os
import signal
import socket
import traceback
from dataclasses import dataclass
from typing import Sequence, Tuple

from runner.channel import WorkerChannel
from runner.contract.errors import ContractError
from runner.contract.spool import Stream
from runner.deployment import RunningDeployment
from runner.errors import RunnerError
from runner.job_folder import JobFile, JobFolder
from runner.job_variables import JobVariables
from runner.pipeline import run_step
from runner.scripts import ScriptRunner
from runner.steps import find_step


@dataclass(frozen=True)
class WorkerEnds:
    """The descriptors that a worker and its scripts inherit."""

    control: socket.socket
    stdout: int
    stderr: int
    service: int
    turn: Tuple[int, int]


def start_worker(
    folder: JobFolder,
    job_file: JobFile,
    variables: JobVariables,
    token: str,
    ends: WorkerEnds,
    not_theirs: Sequence[int],
) -> int:
    """Fork the worker; returns its pid.

    Args:
        folder, job_file, variables: What there is to do.
        token: Marks this run's service lines.
        ends: What the worker and its scripts hold.
        not_theirs: The supervisor's own descriptors (the isolation lock among them), closed in the worker, which must
            not keep anything of the supervisor's open should it outlive it.
    """
    pid = os.fork()
    if pid:
        return pid
    try:
        for descriptor in not_theirs:
            os.close(descriptor)
        _become_worker(ends)
        channel = WorkerChannel(ends.control)
        scripts = ScriptRunner(folder, job_file, variables, token, ends.service, ends.turn, channel)
        _work(RunningDeployment(folder, job_file, variables, channel, scripts))
    except BaseException:  # noqa: BLE001  the top of a process: whatever happened, it must not return into the fork's stack
        os._exit(1)
    os._exit(0)


def _become_worker(ends: WorkerEnds) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    # What a deployment makes is for others to read; what the supervisor makes is not.
    os.umask(0o022)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (ends.stdout, 1), (ends.stderr, 2)):
        os.dup2(source, target)


def _work(deployment: RunningDeployment) -> None:
    channel = deployment.channel
    try:
        run_step(find_step(deployment.job.step.kind), deployment)
    except (RunnerError, ContractError) as error:
        channel.say(Stream.ERROR, str(error))
        channel.done("failed", getattr(error, "exit_code", None), str(error))
    except OSError as error:
        sentence = f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
        channel.say(Stream.ERROR, sentence)
        channel.done("failed", None, sentence)
    except Exception as error:  # noqa: BLE001  the top of a process: a fault of ours is told, with its place, and ends the job
        channel.say(Stream.VERBOSE, "".join(traceback.format_tb(error.__traceback__)))
        sentence = f"a fault in the runner: {type(error).__name__}: {error}"
        channel.say(Stream.ERROR, sentence)
        channel.done("failed", None, sentence)
    else:
        channel.done("succeeded", 0 if deployment.scripts.has_run else None, "")

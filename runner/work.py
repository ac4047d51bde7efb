"""What a worker does: the one job that its supervisor names, from its step's first convention to its end."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Tuple

from runner.channel import WorkerChannel
from runner.contract.errors import ContractError
from runner.contract.spool import Stream
from runner.crash import crash_point
from runner.deployment import RunningDeployment
from runner.errors import RunnerError
from runner.job_folder import JobFolder
from runner.job_variables import variables_of
from runner.pipeline import run_step
from runner.scripts import ScriptRunner
from runner.steps import find_step


def do_what_comes(channel: WorkerChannel, service: int, turn: Tuple[int, int]) -> None:
    """The one job that the supervisor names; nothing where it goes away before it says go."""
    told = channel.told()
    if told is None:
        return
    folder = JobFolder(Path(told["folder"]))
    job_file = folder.read_job()
    variables = variables_of(job_file, told["secrets"])
    scripts = ScriptRunner(folder, job_file, variables, told["token"], service, turn, channel)
    if channel.told() is not None:
        crash_point("worker.told")
        gc.enable()
        _work(RunningDeployment(folder, job_file, variables, channel, scripts))


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
        import traceback  # late: only a fault of ours needs it

        channel.say(Stream.VERBOSE, "".join(traceback.format_tb(error.__traceback__)))
        sentence = f"a fault in the runner: {type(error).__name__}: {error}"
        channel.say(Stream.ERROR, sentence)
        channel.done("failed", None, sentence)
    else:
        channel.done("succeeded", 0 if deployment.scripts.has_run else None, "")

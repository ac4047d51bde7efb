"""The runner's commands: supervise and standby for spokes; run, version and step-kinds for people."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Callable, Dict, List, NoReturn

from runner import release
from runner.contract.errors import ContractError
from runner.contract.fields import Fields, parse_object
from runner.errors import FolderRefused, NotAJob, RunnerError

GO_MAX_BYTES = 32 * 1024**2
USAGE = """usage: python3 RUNNER run JOB.json   do a job here and now, and show what it prints
       python3 RUNNER version | step-kinds   print what this runner is, and which steps it knows, as JSON
       python3 RUNNER run --help   how a JOB.json is written

for spokes:
       supervise JOB-FOLDER   do the job of a folder; its input is one line {"secrets": {…}, "go": true}
       standby                wait for one such line that names its "folder", then do that job"""
RUN_HELP = """usage: python3 RUNNER run JOB.json

Does the job of a file on this machine, without a hub, and shows what it prints. A file that does:

    {"kind": "run-script", "properties": {"script": "get_variable Name"}, "variables": {"Name": "world"}}

kind         which step: run-script, deploy-package, … (step-kinds lists them with their properties)
properties   what that step takes
variables    values by name; they may refer to others as #{Name}
secrets      {"ApiToken": "API_TOKEN"}: the secret ApiToken, from the environment variable API_TOKEN
package      a file named ID.VERSION.zip, .tar.gz, …; a path, beside JOB.json unless it is absolute
expose_env   names of variables that scripts find in their environment
environment, target, project, release, tenant, step   what things are called
mode         install (unless it is given), switch or preview
home         where applications without install_to lie; without it, in the job's folder below the system's temporary one
limits       {"wall_s": 60}; also cpu_s, out_bytes, disk_bytes
grace_s      seconds that processes have to end by themselves

exit status: 0 succeeded · 1 failed or timed out · 2 the file or the command is not understood, nothing was done ·
130 interrupted: Ctrl-C ends all that the job started"""


def main(arguments: List[str]) -> int:
    """The exit code: 0 done (the outcome says how), 1 a job run here failed, 2 usage or no job, 4 a folder is refused.

    A job run here that was interrupted gives 130.
    """
    with_path: Dict[str, Callable[[Path], int]] = {"supervise": _supervise, "run": _run}
    alone: Dict[str, Callable[[], int]] = {"standby": _standby, "version": _version, "step-kinds": _step_kinds}
    if arguments and arguments[-1] in ("-h", "--help"):
        print(RUN_HELP if arguments[0] == "run" else USAGE)
        return 0
    try:
        if len(arguments) == 2 and arguments[0] in with_path:
            return with_path[arguments[0]](Path(arguments[1]))
        if len(arguments) == 1 and arguments[0] in alone:
            return alone[arguments[0]]()
    except NotAJob as error:
        print(f"{error}\nnothing was done; `run --help` tells how a job is written", file=sys.stderr)
        return 2
    except RunnerError as error:
        print(str(error), file=sys.stderr)
        return 4
    print(USAGE, file=sys.stderr)
    return 2


def _supervise(path: Path) -> NoReturn:
    from runner.job_folder import JobFolder  # late: `version` needs none of it
    from runner.readiness import get_ready  # late: the same

    folder = JobFolder(path)
    folder.claim()
    secrets = _secrets(_read_line())
    ready = get_ready()
    from runner.supervisor import supervise  # late: beside the worker, which imports what the step needs

    supervise(folder, secrets, ready, claimed=True)
    _leave()


def _standby() -> NoReturn:
    """Have everything at hand, then become the supervisor of the one job that comes; no line, no job."""
    from runner.job_folder import JobFolder  # late: `version` needs none of it
    from runner.readiness import get_ready  # late: the same
    from runner.supervisor import supervise  # late: the same
    from runner.warmth import own_memory, warm_up  # late: the same

    warm_up()
    ready = get_ready(first=own_memory)
    own_memory()
    line = _read_line()
    if not line:
        _leave()
    supervise(JobFolder(Path(_folder(line))), _secrets(line), ready, claimed=False)
    _leave()


def _leave() -> NoReturn:
    """Everything is written and synced: to take the interpreter apart would cost more than many a job."""
    os._exit(0)


def _read_line() -> bytes:
    """One line of standard input, which is closed then: nothing of it reaches a script."""
    with open(0, "rb", buffering=0, closefd=False) as stream:
        pieces: List[bytes] = []
        size = 0
        while size <= GO_MAX_BYTES:
            piece = stream.read(64 * 1024)
            if not piece:
                break
            pieces.append(piece)
            size += len(piece)
            if b"\n" in piece:
                break
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    line, newline, _ = b"".join(pieces).partition(b"\n")
    return line if newline else b""


def _folder(line: bytes) -> str:
    try:
        return Fields(parse_object(line)).text("folder", 4096)
    except ContractError as error:
        raise FolderRefused(f"standby: {error}") from error


def _secrets(line: bytes) -> Dict[str, str] | None:
    """The secrets of a line that says go; None where there is no such line."""
    try:
        fields = Fields(parse_object(line))
        return fields.text_map("secrets") if fields.flag("go") else None
    except ContractError:
        return None


def _run(job: Path) -> int:
    from runner.standalone import run_here  # late: people's, not spokes'

    return run_here(job)


def _step_kinds() -> int:
    from runner.steps import step_kinds  # late: people's, not spokes'

    print(json.dumps(step_kinds(), indent=2))
    return 0


def _version() -> int:
    python = ".".join(map(str, sys.version_info[:3]))
    print(
        json.dumps(
            {
                "name": "manyarm-runner",
                "release": release.RELEASE,
                "semver": release.SEMVER,
                "min_python": release.MIN_PYTHON,
                "python": python,
            }
        )
    )
    return 0

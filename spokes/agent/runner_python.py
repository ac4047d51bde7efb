"""The interpreter that runs jobs on this machine: that it runs, is new enough, and has what the runner imports."""

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache

from spokes.agent.errors import PythonUnfit

FLOOR = (3, 9)
# Distributions leave some of these out of their smallest Pythons.
_ASK = """
import sys
missing = []
for name in ("ctypes", "hashlib", "json", "selectors", "socket", "subprocess", "zlib"):
    try: __import__(name)
    except ImportError: missing.append(name)
print("%d.%d.%d" % sys.version_info[:3], sys.platform, ",".join(missing))
"""
_ANSWERS_WITHIN_S = 30.0
_ADVICE = "install Python 3.9 or later and name it with MANYARM_SPOKE_RUNNER_PYTHON"


@dataclass(frozen=True, slots=True)
class RunnerPython:
    """`version` is such as 3.11.2; `shown` what the hub is told."""

    path: str
    version: str

    @property
    def shown(self) -> str:
        return self.version if self.path == sys.executable else f"{self.version} ({self.path})"


def said_of(path: str) -> str:
    """What the hub is told of it: the version, or why there is none."""
    try:
        return _known(path, os.stat(path or sys.executable).st_mtime_ns).shown  # noqa: PTH116  A name of any kind.
    except (PythonUnfit, OSError) as error:
        return f"none: {error}"


@lru_cache(maxsize=4)
def _known(path: str, _changed_ns: int) -> RunnerPython:
    """Asked once for as long as the program is the same."""
    return runner_python(path)


def runner_python(path: str) -> RunnerPython:
    """What there is to know of an interpreter; the spoke's own where the path is empty.

    Raises:
        PythonUnfit: Jobs could not run with it; says why and what to do.
    """
    program = path or sys.executable
    try:
        ran = subprocess.run(
            [program, "-I", "-S", "-c", _ASK],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ANSWERS_WITHIN_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        why = "it does not answer" if isinstance(error, subprocess.TimeoutExpired) else str(error)
        raise PythonUnfit(f"{program}, which is to run jobs here, cannot be started ({why}): {_ADVICE}") from error
    version, _, rest = ran.stdout.strip().partition(" ")
    platform, _, missing = rest.partition(" ")
    if ran.returncode or not platform:
        raise PythonUnfit(f"{program}, which is to run jobs here, is no Python that runs: {_ADVICE}")
    if tuple(int(part) for part in version.split(".")[:2]) < FLOOR:
        raise PythonUnfit(f"{program}, which is to run jobs here, is Python {version}: {_ADVICE}")
    if missing:
        raise PythonUnfit(f"{program}, which is to run jobs here, lacks {missing}: install all of Python, or {_ADVICE}")
    return RunnerPython(program, version)

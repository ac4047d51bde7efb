"""Python scripts, run by the interpreter that runs the runner; they `import manyarm`."""

from __future__ import annotations

import sys
from typing import Tuple

from runner.language import Language, Start, on_path


def _find(path: str) -> str:
    return sys.executable or on_path("python3")(path)


def _command(start: Start) -> Tuple[str, ...]:
    # Unbuffered: a line is in the log when it is printed, and none is lost when the script is ended.
    return (start.program, "-u", *start.options)


LANGUAGE = Language(
    name="python",
    extensions=("py",),
    preference=2,
    programs=("python",),
    find=_find,
    command=_command,
    bootstrap=("manyarm.py",),
    environment=lambda tools: {"PYTHONPATH": tools, "PYTHONDONTWRITEBYTECODE": "1"},
)

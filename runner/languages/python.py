"""Python scripts, run by the interpreter that runs the runner; they `import manyarm`."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Tuple

from runner.errors import StepFailed
from runner.language import Language


def _command() -> Tuple[str, ...]:
    python = sys.executable or shutil.which("python3")
    if not python:
        raise StepFailed(f"this machine has no python3 on its path ({os.environ.get('PATH', '')})")
    # Unbuffered: a line is in the log when it is printed, and none is lost when the script is ended.
    return (python, "-u")


LANGUAGE = Language(
    name="python",
    extension="py",
    command=_command,
    bootstrap="manyarm.py",
    environment=lambda folder: {"PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"},
)

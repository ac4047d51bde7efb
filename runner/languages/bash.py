"""Bash scripts, clean of profiles and rc files; nested bash scripts find the functions too."""

from __future__ import annotations

import os
import shutil
from typing import Tuple

from runner.errors import StepFailed
from runner.language import Language


def _command() -> Tuple[str, ...]:
    bash = shutil.which("bash")
    if bash is None:
        raise StepFailed(f"this machine has no bash on its path ({os.environ.get('PATH', '')})")
    return (bash, "--noprofile", "--norc")


LANGUAGE = Language(
    name="bash",
    extension="sh",
    command=_command,
    bootstrap="manyarm.sh",
    environment=lambda folder: {"BASH_ENV": f"{folder}/manyarm.sh"},
)

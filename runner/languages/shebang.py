"""Scripts for any other interpreter: the one that the `#!` line names; they ask by the program in MANYARM_HELPER."""

from __future__ import annotations

import sys
from typing import Dict, NoReturn, Tuple

from runner.errors import StepFailed
from runner.language import Language, Start


def _find(_path: str) -> NoReturn:
    raise StepFailed("the script must begin with a line that names its interpreter, such as #!/usr/bin/env perl")


def _command(start: Start) -> Tuple[str, ...]:
    return (start.program, *start.options)


def _environment(tools: str) -> Dict[str, str]:
    return {"MANYARM_HELPER": f"{tools}/helper.sh", "MANYARM_PYTHON": sys.executable}


LANGUAGE = Language(
    name="shebang",
    extensions=("", "rb", "pl", "php", "lua", "tcl", "awk", "zsh", "ksh", "fish", "exs", "jl", "groovy", "csx"),
    preference=6,
    programs=(),
    find=_find,
    command=_command,
    bootstrap=("helper.sh", "manyarm.py"),
    environment=_environment,
)

"""Scripts for any POSIX shell (dash, busybox, …): the functions are read first, then the script, both by that shell."""

from __future__ import annotations

import sys
from typing import Dict, Tuple

from runner.language import Language, Start, on_path

# `sh -c TEXT NAME` makes NAME the shell's $0, so that scripts and messages show the script's own path and lines.
# Only in a shell of its own can be tried whether there is a pipefail: where it is unknown, the shell ends.
_READ_BOTH = '. "$MANYARM_TOOLS/manyarm.sh"; . "$0"'
_READ_BOTH_STRICT = f"if (set -o pipefail) 2>/dev/null; then set -o pipefail; fi; {_READ_BOTH}"


def _command(start: Start) -> Tuple[str, ...]:
    if start.strict:
        return (start.program, "-e", *start.options, "-c", _READ_BOTH_STRICT)
    return (start.program, *start.options, "-c", _READ_BOTH)


def _environment(tools: str) -> Dict[str, str]:
    # The functions ask by a program, and this Python is the one thing that every target is known to have.
    return {"MANYARM_TOOLS": tools, "MANYARM_PYTHON": sys.executable}


LANGUAGE = Language(
    name="sh",
    extensions=(),
    preference=5,
    programs=("sh", "dash", "ash"),
    find=on_path("sh"),
    command=_command,
    bootstrap=("manyarm.sh", "manyarm.py"),
    environment=_environment,
    chokes_on_cr=True,
)

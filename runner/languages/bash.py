"""Bash scripts, clean of profiles and rc files; nested bash scripts find the functions too."""

from __future__ import annotations

from typing import Tuple

from runner.language import Language, Start, on_path


def _command(start: Start) -> Tuple[str, ...]:
    strict = ("-e", "-o", "pipefail") if start.strict else ()
    return (start.program, "--noprofile", "--norc", *strict, *start.options)


LANGUAGE = Language(
    name="bash",
    extensions=("sh", "bash"),
    preference=1,
    programs=("bash",),
    find=on_path("bash"),
    command=_command,
    bootstrap=("manyarm.bash",),
    environment=lambda tools: {"BASH_ENV": f"{tools}/manyarm.bash"},
    chokes_on_cr=True,
)

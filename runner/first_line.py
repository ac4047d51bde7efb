"""The `#!` line of a script: which interpreter it names, as the kernel would read it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Tuple

from runner.contract.errors import shown
from runner.errors import StepFailed
from runner.language import which

# The kernel reads 255 bytes of it.
LINE_MAX_BYTES = 4096


@dataclass(frozen=True)
class Interpreter:
    """A program, its options before the script, and the name by which languages know it."""

    program: str
    options: Tuple[str, ...]

    @property
    def name(self) -> str:
        return PurePath(self.program).name


def named_interpreter(script: bytes) -> Interpreter | None:
    """What the first line of a script names; None where it is no such line.

    `#!/usr/bin/env perl -w` names perl, with the options that it seems to have: only some systems split them off.
    """
    line = script[:LINE_MAX_BYTES].partition(b"\n")[0]
    words = line[2:].decode("utf-8", "surrogateescape").split(None, 1) if line.startswith(b"#!") else []
    if not words:
        return None
    program, rest = words[0], "".join(words[1:]).strip()
    if PurePath(program).name == "env":
        behind = _split(rest.partition(" ")[2] if rest.startswith("-S ") else rest)
        # Anything else that env can do, it does itself.
        if behind and not behind[0].startswith("-") and "=" not in behind[0]:
            return Interpreter(behind[0], behind[1:])
    return Interpreter(program, _split(rest))


def found(interpreter: Interpreter, script: str, cwd: Path, path: str) -> Interpreter:
    """The same with its program's place on this machine.

    Raises:
        StepFailed: it is not there, or may not be executed.
    """
    program = interpreter.program
    wanted = f"{script} wants to be run by {shown(program)!r}"
    if "/" not in program:
        place = which(program, path)
        if place is None:
            raise StepFailed(f"{wanted}, which is not on this machine's path ({path})")
        return Interpreter(place, interpreter.options)
    if not (cwd / program).is_file() or not os.access(cwd / program, os.X_OK):
        raise StepFailed(f"{wanted}, and this machine has no such program")
    return interpreter


def _split(text: str) -> Tuple[str, ...]:
    import shlex  # late: only a first line with options needs it

    try:
        return tuple(shlex.split(text))
    except ValueError:
        return tuple(text.split())

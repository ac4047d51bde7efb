"""What a script language offers: how its files are called, what runs them, and what they find there."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Callable, Dict, Tuple

from runner.errors import StepFailed


@dataclass(frozen=True)
class Start:
    """How one script is to be started.

    Args:
        program: What runs it: the language's own program, or the one that the script's `#!` line names.
        options: Of the `#!` line, for that program.
        tools: The folder in which the bootstrap lies.
        strict: Whether the script ends at the first command that fails.
    """

    program: str
    options: Tuple[str, ...]
    tools: str
    strict: bool


@dataclass(frozen=True)
class Language:
    """One script language.

    Args:
        name: As a step's property `shell` spells it, and its file in `runner/languages`.
        extensions: Of its files, without a dot; packaged scripts are found by them (`PreDeploy.sh`). Typed scripts
            get the first.
        preference: Of several packaged scripts of one stage the one with the lowest runs.
        programs: How a `#!` line may call its interpreter; a version may follow (`python3.12`).
        find: The program for scripts without a `#!` line; raises StepFailed where the machine lacks it.
        command: The program and its arguments; the script's path is put behind them.
        bootstrap: The files of `runner/bootstrap` that offer get_variable and its kin.
        environment: What scripts need in their environment to find them, from the folder they lie in.
        chokes_on_cr: Whether a line that ends as on Windows is another line to its interpreter.
    """

    name: str
    extensions: Tuple[str, ...]
    preference: int
    programs: Tuple[str, ...]
    find: Callable[[str], str]
    command: Callable[[Start], Tuple[str, ...]]
    bootstrap: Tuple[str, ...]
    environment: Callable[[str], Dict[str, str]]
    chokes_on_cr: bool = False

    def is_run_by(self, program: str) -> bool:
        """Whether a program of this name (without its folder) is an interpreter of this language."""
        names = "|".join(map(re.escape, self.programs))
        return bool(names) and re.fullmatch(rf"(?:{names})[0-9.]*", program) is not None


def which(name: str, path: str) -> str | None:
    """A program's place on a path; as `shutil.which`, which takes half of a start to import."""
    places = (os.path.join(folder, name) for folder in path.split(os.pathsep) if folder)  # noqa: PTH118  texts
    return next((place for place in places if os.path.isfile(place) and os.access(place, os.X_OK)), None)  # noqa: PTH113


def on_path(*names: str) -> Callable[[str], str]:
    """Finds the first of these programs that is on a path."""

    def find(path: str) -> str:
        for name in names:
            found = which(name, path)
            if found is not None:
                return found
        raise StepFailed(f"this machine has no {names[0]} on its path ({path})")

    return find

"""What a script language offers: how its files are called, what runs them, and what they find there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Dict, Tuple


@dataclass(frozen=True)
class Language:
    """One script language.

    Args:
        name: As a step's property `shell` spells it.
        extension: Of its files, without a dot; packaged scripts are found by it (`PreDeploy.sh`).
        command: The program and its arguments, without the script; raises StepFailed where the machine lacks it.
        bootstrap: The file of `runner/bootstrap` that offers get_variable and its kin.
        environment: What scripts need in their environment to find the bootstrap, from the folder it lies in.
    """

    name: str
    extension: str
    command: Callable[[], Tuple[str, ...]]
    bootstrap: str
    environment: Callable[[str], Dict[str, str]]

"""The languages that a script may be in: those of the runner that new plans name, whatever this hub was built with."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from hub.errors import Invalid
from runner.contract.step_kind import StepKind

Shell = Annotated[
    str,
    Field(pattern=r"^[a-z][a-z0-9-]{0,23}$", description="One of the choices of run-script's `shell` in /step-kinds."),
]


def check_shell(kinds: Mapping[str, StepKind], shell: str) -> None:
    """Raise Invalid where the runner knows no such language; it names those it knows."""
    known = next(prop for prop in kinds["run-script"].properties if prop.name == "shell")
    fault = known.fault(shell)
    if fault:
        raise Invalid(f"{shell!r} is no language of scripts; {fault}", field="shell")

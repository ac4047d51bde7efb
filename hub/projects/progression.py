"""PURE. May this release go to that environment? A lifecycle's phases are passed in order.

phase 1  Try   [Development]  require all      a release enters a phase when every phase before it is satisfied
phase 2  Live  [Production]   require all
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Literal

Require = Literal["all", "any", "none"] | int
"""How many of a phase's environments must have taken the release before the next phase opens."""


@dataclass(frozen=True, slots=True)
class Phase:
    """Environments are ids; `require` is "all", "any", "none" (an optional phase) or a number."""

    name: str
    environments: tuple[str, ...]
    require: Require = "all"

    def needed(self) -> int:
        if self.require == "all":
            return len(self.environments)
        if self.require == "any":
            return min(1, len(self.environments))
        if self.require == "none":
            return 0
        return self.require


@dataclass(frozen=True, slots=True)
class Verdict:
    """`blocking` is the phase that is not satisfied yet, "" where none is; `missing` how many successes it lacks."""

    allowed: bool
    reason: str = ""
    blocking: str = ""
    missing: int = 0


def may_go(phases: Sequence[Phase], environment: str, succeeded: AbstractSet[str]) -> Verdict:
    """Judge one environment.

    Args:
        phases: In order. Without any phase a release may go anywhere.
        environment: The id of the environment that is asked for.
        succeeded: Ids of the environments to which this very release was deployed with success.
    """
    if not phases:
        return Verdict(True)
    if not any(environment in phase.environments for phase in phases):
        return Verdict(False, "no phase of the lifecycle holds this environment")
    for phase in phases:
        if environment in phase.environments:
            return Verdict(True)
        missing = phase.needed() - len(succeeded & set(phase.environments))
        if missing > 0:
            return Verdict(False, _sentence(phase, missing), phase.name, missing)
    raise AssertionError("the loop above returns at the phase that holds the environment")


def _sentence(phase: Phase, missing: int) -> str:
    if missing == 1 and len(phase.environments) == 1:
        return f"it was not yet deployed with success in phase {phase.name!r}"
    return f"phase {phase.name!r} needs {missing} more environment{'s' if missing > 1 else ''} with a success"

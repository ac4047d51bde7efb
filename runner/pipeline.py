"""A step is a list of conventions: install each in turn; where one fails, roll back it and those before it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import List, Protocol, Tuple

from runner.contract.errors import ContractError
from runner.contract.spool import Stream
from runner.contract.step_kind import StepKind
from runner.deployment import RunningDeployment
from runner.errors import RunnerError


class Convention(Protocol):
    """One piece of a step's work."""

    @property
    def name(self) -> str: ...

    def install(self, deployment: RunningDeployment) -> None:
        """Do it; raises StepFailed (or OSError) where it cannot be done."""

    def rollback(self, deployment: RunningDeployment) -> None:
        """Take back what `install` did, where that can be done."""


@dataclass(frozen=True)
class Step:
    """A step kind and what it does.

    Args:
        kind: What the hub, the portal and the API know of it.
        conventions: What is done, in order.
        on_failure: What is done after a rollback; its own failures are told and change nothing.
        at_the_end: What is done in any case, knowing whether all went well.
    """

    kind: StepKind
    conventions: Tuple[Convention, ...]
    on_failure: Tuple[Convention, ...] = ()
    at_the_end: Tuple[AtTheEnd, ...] = ()


class AtTheEnd(Protocol):
    def finish(self, deployment: RunningDeployment, *, succeeded: bool) -> None: ...


def run_step(step: Step, deployment: RunningDeployment) -> None:
    """Do a step's work; raises what its first failing convention raised."""
    deployment.properties = step.kind.check(deployment.job.properties)
    succeeded = False
    try:
        _install(step, deployment)
        succeeded = True
    finally:
        for last in step.at_the_end:
            last.finish(deployment, succeeded=succeeded)


def _install(step: Step, deployment: RunningDeployment) -> None:
    begun: List[Convention] = []
    try:
        for convention in step.conventions:
            begun.append(convention)
            deployment.channel.event({"event": "convention", "name": convention.name, "state": "started"})
            convention.install(deployment)
            deployment.channel.event({"event": "convention", "name": convention.name, "state": "done"})
    except (RunnerError, ContractError, OSError):
        deployment.channel.event({"event": "convention", "name": begun[-1].name, "state": "failed"})
        for convention in reversed(begun):
            _quietly(deployment, f"rollback of {convention.name}", convention.rollback)
        for convention in step.on_failure:
            _quietly(deployment, convention.name, convention.install)
        raise


def _quietly(deployment: RunningDeployment, what: str, act: object) -> None:
    """What is done after a failure must not hide it."""
    with suppress(ConnectionError):
        try:
            act(deployment)  # type: ignore[operator]  # a bound method of a convention
        except (RunnerError, ContractError, OSError) as error:
            deployment.channel.say(Stream.WARNING, f"{what} failed too: {error}")

"""A step is a list of conventions: install each in turn; where one fails, roll back it and those before it.

A step has one list for each mode of a job: to deploy, to switch back to what an earlier deployment left, to preview.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import List, Protocol, Tuple

from runner.contract.job import INSTALL, MODES, PREVIEW, SWITCH
from runner.contract.spool import Stream
from runner.contract.step_kind import StepKind
from runner.crash import crash_point
from runner.deployment import RunningDeployment
from runner.errors import JobStopped
from runner.stopping import stopping_at_sigterm


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
        kind: What the hub, the portal and the API know of it; its modes are those that have a list here.
        conventions: What is done, in order.
        on_failure: What is done after a rollback; its own failures are told and change nothing.
        at_the_end: What is done in any case, knowing whether all went well.
        switch: What is done instead to go back, without its package's bytes, to an earlier release.
        preview: What is done instead to show what would change. Nothing that lasts may change: it ends with its own
            list, neither `on_failure` nor `at_the_end` is done.
    """

    kind: StepKind
    conventions: Tuple[Convention, ...]
    on_failure: Tuple[Convention, ...] = ()
    at_the_end: Tuple[AtTheEnd, ...] = ()
    switch: Tuple[Convention, ...] = ()
    preview: Tuple[Convention, ...] = ()

    def __post_init__(self) -> None:
        modes = tuple(mode for mode in MODES if self.in_mode(mode))
        object.__setattr__(self, "kind", replace(self.kind, modes=modes))

    def in_mode(self, mode: str) -> Tuple[Convention, ...]:
        """What is done in a mode, in order; nothing where the step does not know it."""
        return {INSTALL: self.conventions, SWITCH: self.switch, PREVIEW: self.preview}[mode]


class AtTheEnd(Protocol):
    def finish(self, deployment: RunningDeployment, *, succeeded: bool) -> None: ...


def run_step(step: Step, deployment: RunningDeployment) -> None:
    """Do a step's work in the job's mode; raises what its first failing convention raised."""
    deployment.properties = step.kind.check(deployment.job.properties)
    mode = deployment.job.mode
    if not step.in_mode(mode):
        deployment.say(f"{step.kind.name} does nothing in a {mode}")
        return
    if mode == PREVIEW:
        step = replace(step, on_failure=(), at_the_end=())
    succeeded = False
    with deployment.until_the_end:
        try:
            _install(step, deployment)
            succeeded = True
        finally:
            for last in step.at_the_end:
                last.finish(deployment, succeeded=succeeded)


def _install(step: Step, deployment: RunningDeployment) -> None:
    begun: List[Convention] = []
    try:
        with stopping_at_sigterm():
            for convention in step.in_mode(deployment.job.mode):
                begun.append(convention)
                _do(convention, deployment)
                if deployment.is_done:
                    return
    except (Exception, JobStopped) as error:
        for convention in begun[-1:]:
            deployment.channel.event({"event": "convention", "name": convention.name, "state": "failed"})
        for convention in reversed(begun):
            _quietly(deployment, f"rollback of {convention.name}", convention.rollback)
        # Whoever ends a job gives it a moment to put things back, not to run more of it.
        for convention in () if isinstance(error, JobStopped) else step.on_failure:
            _quietly(deployment, convention.name, convention.install)
        raise


def _do(convention: Convention, deployment: RunningDeployment) -> None:
    deployment.channel.event({"event": "convention", "name": convention.name, "state": "started"})
    convention.install(deployment)
    crash_point("convention.done")
    deployment.channel.event({"event": "convention", "name": convention.name, "state": "done"})


def _quietly(deployment: RunningDeployment, what: str, act: object) -> None:
    """What is done after a failure must not hide it."""
    with suppress(ConnectionError):
        try:
            act(deployment)  # type: ignore[operator]  # a bound method of a convention
        except Exception as error:  # noqa: BLE001  a fault of ours included: what failed first is what ends the job
            deployment.channel.say(Stream.WARNING, f"{what} failed too: {error}")

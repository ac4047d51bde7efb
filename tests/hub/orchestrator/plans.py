"""Small plans for tests: targets by name, one step a line."""

import itertools
from collections.abc import Sequence

from hub.orchestrator.plan import DeploymentPlan
from hub.orchestrator.planner import PlanInputs, PlanLimits, StepInput, TargetInput, plan
from runner.contract.job import Named, ReleaseRef
from wire.messages import PackageRef, PackageRole

RUNNER = PackageRef(
    role=PackageRole.RUNNER,
    manifest_id="a" * 32,
    manifest_key="b" * 64,
    manifest_sha256="c" * 64,
    package="manyarm-runner",
    version="1.0.0",
    extension="pyz",
    size=1000,
    sha256="d" * 64,
    release="00",
)
WEB = PackageRef(
    role=PackageRole.PACKAGE,
    manifest_id="e" * 32,
    manifest_key="f" * 64,
    manifest_sha256="0" * 64,
    package="storefront",
    version="1.4.2",
    extension="zip",
    size=5_000_000,
    sha256="1" * 64,
    release="",
)


def target(name: str, **more) -> TargetInput:
    return TargetInput(id=f"id-{name}", name=name, spoke=f"spoke-{name}", **more)


def inputs(steps: Sequence[StepInput], targets: Sequence[TargetInput], **more) -> PlanInputs:
    return PlanInputs(
        task="task",
        project=Named("project", "Storefront"),
        release=ReleaseRef("release", "1.4.2"),
        environment=Named("env-production", "Production"),
        steps=tuple(steps),
        targets=tuple(targets),
        runner=RUNNER,
        **{"packages": {"storefront": WEB}, "limits": PlanLimits(), **more},
    )


def counted():
    """Ids in order, so that tests can name them."""
    numbers = itertools.count(1)
    return lambda: f"{next(numbers):032x}"


def plan_of(steps: Sequence[StepInput], targets: Sequence[str], **more) -> DeploymentPlan:
    return plan(inputs(steps, [target(name) for name in targets], **more), counted())

"""What a deployment would do, for whoever may ask for it: the plan as data, and nothing is changed."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from hub.access.caller import Caller
from hub.operations.catalogue import CATALOGUE
from hub.operations.deploying import (
    DeploymentBody,
    RollbackBody,
    only_target_ids,
    refuse_out_of_order,
    what_is_deployed,
    what_is_gone_back_to,
)
from hub.operations.operation import authorise, validated
from hub.orchestrator.submitting import plan_shown
from hub.storage.models import Environment, Release
from hub.storage.seals import RowSeals
from hub.storage.vault import Vault
from runner.contract.job import INSTALL, SWITCH
from runner.contract.step_kind import StepKind


class Planning(Protocol):
    """What of the portal's parts a plan reads."""

    @property
    def vault(self) -> Vault: ...
    @property
    def seals(self) -> RowSeals: ...
    @property
    def step_kinds(self) -> Callable[[], Mapping[str, StepKind]]: ...


def deployment_plan(parts: Planning, caller: Caller, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The plan of the deployment that `wanted` asks for.

    Raises:
        HubError: As the deployment itself would be refused.
    """
    body = validated(DeploymentBody, dict(wanted))
    authorise(CATALOGUE["deployment.create"], caller, body)
    _, release, environment = what_is_deployed(body)
    refuse_out_of_order(release, environment)
    return _plan(parts, body, release, environment, INSTALL)


def rollback_plan(parts: Planning, caller: Caller, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The plan of going back, to the release that `wanted` names or to the one before.

    Raises:
        HubError: As going back itself would be refused.
    """
    body = validated(RollbackBody, dict(wanted))
    authorise(CATALOGUE["deployment.rollback"], caller, body)
    _, release, environment = what_is_gone_back_to(body)
    return _plan(parts, body, release, environment, SWITCH)


def _plan(
    parts: Planning, body: DeploymentBody | RollbackBody, release: Release, environment: Environment, mode: str
) -> dict[str, Any]:
    return plan_shown(
        parts,
        release=release,
        environment=environment,
        variables=body.variables,
        only_targets=only_target_ids(body),
        skip_steps=body.skip_steps,
        mode=mode,
        kinds=parts.step_kinds() if mode != INSTALL else {},
    )

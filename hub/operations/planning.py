"""What a deployment would do, for whoever may ask for it: the plan as data, and nothing is changed."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from hub.access.caller import Caller
from hub.operations.catalogue import CATALOGUE
from hub.operations.operation import authorise, validated
from hub.operations.work import DeploymentBody, only_target_ids, refuse_out_of_order, what_is_deployed
from hub.orchestrator.submitting import preview
from hub.storage.seals import RowSeals
from hub.storage.vault import Vault
from runner.contract.step_kind import StepKind


class Previewing(Protocol):
    """What of the portal's parts a preview reads."""

    @property
    def vault(self) -> Vault: ...
    @property
    def seals(self) -> RowSeals: ...
    @property
    def step_kinds(self) -> Callable[[], Mapping[str, StepKind]]: ...


def deployment_plan(parts: Previewing, caller: Caller, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The plan of the deployment that `wanted` asks for.

    Raises:
        HubError: As the deployment itself would be refused.
    """
    body = validated(DeploymentBody, dict(wanted))
    authorise(CATALOGUE["deployment.create"], caller, body)
    _, release, environment = what_is_deployed(body)
    refuse_out_of_order(release, environment)
    return preview(
        parts,
        release=release,
        environment=environment,
        variables=body.variables,
        only_targets=only_target_ids(body),
        skip_steps=body.skip_steps,
    )

"""Machine policies as operations, and which target has which one: `hub/infrastructure/machine_policies.py` does it."""

from typing import Annotated, Any, Literal

from pydantic import Field

from hub.infrastructure import machine_policies
from hub.infrastructure.machine_policies import PolicyRequest
from hub.operations.body import Body, IfVersion, Line, Name, Nothing, Ref
from hub.operations.context import Context
from hub.operations.infrastructure import scopes_of_targets
from hub.operations.operation import Done, Operation, Scope
from hub.permissions import Permission
from hub.projects import finding, targeting
from hub.projects.shells import Shell, check_shell
from hub.queries.infrastructure import TargetView, target_view
from hub.queries.machine_policies import MachinePolicyView, policy_row, view
from hub.states import Unavailable
from hub.storage.models import MachinePolicy

ScriptText = Annotated[str, Field(max_length=65_536)]


class PolicyBody(Body):
    """`script` runs on each target at every check; its exit code, `fail` and `warn` say how the target is."""

    name: Name
    interval_s: Annotated[int, Field(ge=60, le=7 * 24 * 3600)] = machine_policies.INTERVAL_S
    script: ScriptText = ""
    shell: Shell = "bash"
    unavailable: Literal["fail", "skip", "wait"] = "wait"
    wait_s: Annotated[int, Field(ge=0, le=24 * 3600)] = 0
    catch_up: bool = False
    description: Line = ""


class UpdatePolicy(PolicyBody):
    machine_policy: Ref
    if_version: IfVersion


class OfPolicy(Body):
    machine_policy: Ref


class SetPolicy(Body):
    """`policy`: by name or id; "Default" is the one of targets that name none."""

    target: Ref
    policy: Ref


def wanted(body: PolicyBody) -> PolicyRequest:
    return PolicyRequest(
        name=body.name,
        interval_s=body.interval_s,
        script=body.script,
        shell=body.shell,
        unavailable=Unavailable(body.unavailable),
        wait_s=body.wait_s,
        catch_up=body.catch_up,
        description=body.description,
    )


def _create(context: Context, body: PolicyBody) -> Done:
    check_shell(context.step_kinds, body.shell)
    return _done(machine_policies.create_policy(context, wanted(body)))


def _update(context: Context, body: UpdatePolicy) -> Done:
    row = policy_row(body.machine_policy)
    finding.check_version(row, body.if_version)
    check_shell(context.step_kinds, body.shell)
    return _done(machine_policies.update_policy(context, row.id, wanted(body)))


def _delete(context: Context, body: OfPolicy) -> Done:
    row = machine_policies.delete_policy(context, policy_row(body.machine_policy).id)
    return Done(Nothing(), f"machine-policy:{row.id}", detail={"name": row.name})


def _set(context: Context, body: SetPolicy) -> Done:
    row, policy = targeting.target(body.target), policy_row(body.policy, "policy")
    machine_policies.give_policy(row, policy, context.now_ms)
    return Done(target_view(row), f"target:{row.id}", detail={"name": row.name, "policy": policy.name})


def _target_scopes(body: Any) -> tuple[Scope, ...]:
    return scopes_of_targets([targeting.target(body.target)], [])


def _done(row: MachinePolicy) -> Done:
    detail = {"name": row.name, "unavailable": str(row.unavailable), "script": bool(row.script)}
    return Done(view(row), f"machine-policy:{row.id}", detail=detail)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        "machine-policy.create",
        "Say how targets are looked at, and what deployments do with those that are away",
        PolicyBody,
        MachinePolicyView,
        Permission.MACHINE_POLICY_EDIT,
        _create,
        status=201,
    ),
    Operation(
        "machine-policy.update",
        "Change a machine policy",
        UpdatePolicy,
        MachinePolicyView,
        Permission.MACHINE_POLICY_EDIT,
        _update,
    ),
    Operation(
        "machine-policy.delete",
        "Remove a machine policy; its targets have the default one from then on",
        OfPolicy,
        Nothing,
        Permission.MACHINE_POLICY_EDIT,
        _delete,
        status=204,
    ),
    Operation(
        "target.set-policy",
        "Give a target a machine policy",
        SetPolicy,
        TargetView,
        Permission.TARGET_EDIT,
        _set,
        _target_scopes,
    ),
)

"""Targets, spokes and join codes, as operations: `hub/infrastructure` does the work."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from hub.errors import Conflict
from hub.infrastructure import join_codes, listening, spokes, targets
from hub.operations.body import Body, IfVersion, Line, Name, Nothing, Ref, RefList, Reply, RoleList
from hub.operations.context import Context
from hub.operations.operation import Done, Operation, Scope
from hub.operations.work import TaskCreated
from hub.permissions import Permission
from hub.projects import finding, targeting
from hub.queries.infrastructure import JoinCodeView, SpokeView, TargetView, join_code_view, spoke_row, spoke_view
from hub.queries.infrastructure import target_view as view
from hub.states import Approval
from hub.storage.models import Target


class UpdateTarget(Body):
    target: Ref
    name: Name
    roles: RoleList
    environments: RefList
    if_version: IfVersion


class OfTarget(Body):
    target: Ref


class DisableTarget(Body):
    target: Ref
    reason: Line = ""


class OfSpoke(Body):
    """`thumbprint`: what the approver compared; where it is given it must be the spoke's, whole."""

    spoke: Ref
    thumbprint: Line = ""


class RevokeSpoke(Body):
    spoke: Ref
    reason: Line = ""


class MoveSpoke(Body):
    """`address`: HOST:PORT at which relays dial it from now on."""

    spoke: Ref
    address: Annotated[str, StringConstraints(max_length=255)]


class CreateJoinCode(Body):
    role: Literal["spoke", "relay", "ssh", "local"] = "spoke"
    name_pattern: Annotated[str, StringConstraints(max_length=100)] = ""
    roles: RoleList = Field(default_factory=list)
    environments: RefList = Field(default_factory=list)
    approve: Literal["auto", "manual"] = "manual"
    ttl_s: Annotated[int, Field(ge=60, le=24 * 3600)] = 1800


class RevokeJoinCode(Body):
    join_code: Ref


class JoinCodeCreated(Reply):
    """`code` is shown here and never again; `install` is the line that installs manyarm-spoke on the machine."""

    id: str
    code: str
    install: str
    join_code: JoinCodeView


def scopes_of_targets(rows: list[Target], becoming: list[str]) -> tuple[Scope, ...]:
    """The environments in which targets stand, and those into which they are put; all of them where there is none."""
    reached = dict.fromkeys(becoming)
    for row in rows:
        reached |= dict.fromkeys(targeting.environments_of(row))
    return tuple(Scope(environment=found) for found in reached) or (Scope(),)


def _ids(refs: list[str]) -> list[str]:
    return [finding.environment(ref, f"environments.{index}").id for index, ref in enumerate(refs)]


def _update_scopes(body: UpdateTarget) -> tuple[Scope, ...]:
    return scopes_of_targets([targeting.target(body.target)], _ids(body.environments))


def _target_scopes(body: OfTarget | DisableTarget) -> tuple[Scope, ...]:
    return scopes_of_targets([targeting.target(body.target)], [])


def _update(context: Context, body: UpdateTarget) -> Done:
    row = targeting.target(body.target)
    finding.check_version(row, body.if_version)
    row = targets.update_target(context, row.id, name=body.name, roles=body.roles, environments=_ids(body.environments))
    return _of_target(row)


def _enable(context: Context, body: OfTarget) -> Done:
    return _of_target(targets.enable_target(context, targeting.target(body.target).id))


def _disable(context: Context, body: DisableTarget) -> Done:
    return _of_target(targets.disable_target(context, targeting.target(body.target).id, body.reason))


def _delete(context: Context, body: OfTarget) -> Done:
    row = targeting.target(body.target)
    targets.delete_target(context, row.id)
    return Done(Nothing(), f"target:{row.id}", detail={"name": row.name})


def _check(context: Context, body: OfTarget) -> Done:
    row = targeting.target(body.target)
    task = context.orchestrator.submit_check(context, row)
    return Done(TaskCreated(task=task.id), f"target:{row.id}", detail={"task": task.id})


def _of_target(row: Target) -> Done:
    detail = {"name": row.name, "roles": row.roles, "disabled": row.disabled_at is not None}
    return Done(view(row), f"target:{row.id}", detail=detail)


def _approve(context: Context, body: OfSpoke) -> Done:
    row = spoke_row(body.spoke)
    if body.thumbprint and not spokes.has_thumbprint(row, body.thumbprint):
        raise Conflict("this is not the spoke's thumbprint: do not trust it", field="thumbprint")
    row, notice = spokes.approve_spoke(context, row.id)
    detail = {"name": row.name, "thumbprint": spokes.thumbprint_of(row), "path": "by hand"}
    return Done(spoke_view(row, notice), f"spoke:{row.id}", detail=detail)


def _revoke(context: Context, body: RevokeSpoke) -> Done:
    row, notice = spokes.revoke_spoke(context, spoke_row(body.spoke).id, body.reason)
    return Done(spoke_view(row, notice), f"spoke:{row.id}", detail={"name": row.name, "reason": body.reason})


def _move(context: Context, body: MoveSpoke) -> Done:
    row = spoke_row(body.spoke)
    before = row.address
    row = listening.move(context, row.id, body.address, allow_inner=context.allow_inner_targets)
    detail = {"name": row.name, "from": before, "to": row.address}
    return Done(spoke_view(row), f"spoke:{row.id}", detail=detail)


def _join_scopes(body: CreateJoinCode) -> tuple[Scope, ...]:
    return tuple(Scope(environment=found) for found in _ids(body.environments)) or (Scope(),)


def _create_join_code(context: Context, body: CreateJoinCode) -> Done:
    created = join_codes.create_join_code(
        context,
        join_codes.JoinCodeRequest(
            role=body.role,
            name_pattern=body.name_pattern,
            roles=tuple(body.roles),
            environments=tuple(_ids(body.environments)),
            approve=Approval(body.approve),
            ttl_s=body.ttl_s,
        ),
        root_thumbprint=context.joining.root_thumbprint,
        address=context.joining.address,
    )
    shown = join_code_view(created.row)
    detail = {"role": body.role, "approve": body.approve, "name_pattern": body.name_pattern}
    return Done(
        JoinCodeCreated(
            id=created.row.id, code=created.code.reveal(), install=context.joining.install(), join_code=shown
        ),
        f"join-code:{created.row.id}",
        detail=detail,
    )


def _revoke_join_code(context: Context, body: RevokeJoinCode) -> Done:
    row = join_codes.revoke_join_code(context, body.join_code)
    return Done(Nothing(), f"join-code:{row.id}")


OPERATIONS = (
    Operation(
        "target.update", "Change a target", UpdateTarget, TargetView, Permission.TARGET_EDIT, _update, _update_scopes
    ),
    Operation(
        "target.enable",
        "Let plans take a target again",
        OfTarget,
        TargetView,
        Permission.TARGET_EDIT,
        _enable,
        _target_scopes,
    ),
    Operation(
        "target.disable",
        "Keep plans from taking a target",
        DisableTarget,
        TargetView,
        Permission.TARGET_EDIT,
        _disable,
        _target_scopes,
    ),
    Operation(
        "target.delete",
        "Remove a target whose spoke is not trusted",
        OfTarget,
        Nothing,
        Permission.TARGET_EDIT,
        _delete,
        _target_scopes,
        status=204,
    ),
    Operation(
        "target.check",
        "Ask a target's spoke how it is",
        OfTarget,
        TaskCreated,
        Permission.TARGET_CHECK,
        _check,
        _target_scopes,
        status=201,
    ),
    Operation(
        "spoke.approve",
        "Trust a spoke whose thumbprint was compared",
        OfSpoke,
        SpokeView,
        Permission.SPOKE_APPROVE,
        _approve,
        step_up=True,
    ),
    Operation(
        "spoke.revoke",
        "End the trust in a spoke",
        RevokeSpoke,
        SpokeView,
        Permission.SPOKE_APPROVE,
        _revoke,
    ),
    Operation(
        "spoke.move",
        "Say where relays dial a listening spoke",
        MoveSpoke,
        SpokeView,
        Permission.SPOKE_APPROVE,
        _move,
    ),
    Operation(
        "join-code.create",
        "Make a join code; it is shown once",
        CreateJoinCode,
        JoinCodeCreated,
        Permission.JOIN_CODE_EDIT,
        _create_join_code,
        _join_scopes,
        status=201,
        step_up=True,
    ),
    Operation(
        "join-code.revoke",
        "Make a join code useless",
        RevokeJoinCode,
        Nothing,
        Permission.JOIN_CODE_EDIT,
        _revoke_join_code,
        status=204,
    ),
)

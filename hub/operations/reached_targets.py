"""Targets that people add by saying where they are, and the host keys of SSH machines, as operations."""

from typing import Any

from pydantic import Field

from hub.errors import Invalid
from hub.infrastructure import host_keys, listening_targets, reached_targets
from hub.infrastructure.endpoint_body import EndpointBody, ReachedKind
from hub.infrastructure.listening_targets import Introduced
from hub.infrastructure.reached_targets import NewTarget
from hub.infrastructure.ssh_input import fingerprint_of
from hub.operations.body import Body, Line, Name, Ref, RefList, RoleList
from hub.operations.context import Context
from hub.operations.operation import Done, Operation, Scope, require
from hub.operations.work import TaskCreated
from hub.permissions import Permission
from hub.projects import finding, targeting
from hub.queries.infrastructure import TargetView, target_view
from hub.states import TargetKind
from hub.storage.models import Target


class CreateTarget(EndpointBody):
    """`host_key`: given by who has compared it on the machine's console; without it, it is scanned and confirmed."""

    kind: ReachedKind
    name: Name
    roles: RoleList = Field(default_factory=list)
    environments: RefList = Field(default_factory=list)


class SetEndpoint(EndpointBody):
    target: Ref


class OfSshTarget(Body):
    target: Ref


class ConfirmHostKey(Body):
    """`host_key`: the whole public key; or `fingerprint`, SHA256:…, of what the last scan found."""

    target: Ref
    host_key: Line = ""
    fingerprint: Line = ""


def create(context: Context, body: CreateTarget) -> Target:
    """For the operation and for `apply`; the caller has authorised the environments."""
    ids = _ids(body.environments)
    if body.kind == "listening":
        _refuse_others(body, {"address", "thumbprint"})
        # Whoever shows that key is a trusted spoke from then on: it is an approval, given in advance.
        require(context.caller, Permission.SPOKE_APPROVE, Scope())
        context.caller.require_step_up(context.now_ms)
        inner = context.allow_inner_targets
        wanted = Introduced(body.name, body.address or "", body.thumbprint or "", body.roles, ids, allow_inner=inner)
        return listening_targets.introduce(context, wanted)
    _may_use(context, body)
    _prove_trust(context, None, body)
    kind = TargetKind(body.kind)
    inner = context.allow_inner_targets
    return reached_targets.create_reached(context, NewTarget(kind, body.name, body.roles, ids, _endpoint(body), inner))


def change(context: Context, row: Target, body: EndpointBody) -> bool:
    """Whether that changed where the target is or how one gets in; alike for the operation and for `apply`."""
    _may_use(context, body)
    _prove_trust(context, row, body)
    return reached_targets.change_endpoint(context, row, _endpoint(body), allow_inner=context.allow_inner_targets)


def _endpoint(body: EndpointBody) -> EndpointBody:
    """Where it is alone, without the rest of the request."""
    return EndpointBody.model_validate(body.model_dump(include=set(EndpointBody.model_fields)))


def _may_use(context: Context, body: EndpointBody) -> None:
    """Who gives an account to a machine uses it."""
    if body.account is not None:
        require(context.caller, Permission.ACCOUNT_VIEW, Scope())


def _prove_trust(context: Context, row: Target | None, body: EndpointBody) -> None:
    if reached_targets.names_another_key(row, body):
        context.caller.require_step_up(context.now_ms)


def _refuse_others(body: EndpointBody, known: set[str]) -> None:
    for name, value in _endpoint(body).model_dump().items():
        if value is not None and name not in known:
            raise Invalid(f"listening targets have no {name}; they have {' and '.join(sorted(known))}", field=name)


def _ids(refs: list[str]) -> list[str]:
    return [finding.environment(ref, f"environments.{index}").id for index, ref in enumerate(refs)]


def _create_scopes(body: CreateTarget) -> tuple[Scope, ...]:
    return tuple(Scope(environment=found) for found in _ids(body.environments)) or (Scope(),)


def _target_scopes(body: Any) -> tuple[Scope, ...]:
    stands_in = targeting.environments_of(targeting.target(body.target))
    return tuple(Scope(environment=found) for found in stands_in) or (Scope(),)


def _create(context: Context, body: CreateTarget) -> Done:
    return _done(create(context, body))


def _set_endpoint(context: Context, body: SetEndpoint) -> Done:
    row = targeting.target(body.target)
    change(context, row, body)
    return _done(row)


def _scan(context: Context, body: OfSshTarget) -> Done:
    row = targeting.target(body.target)
    if row.kind is not TargetKind.SSH:
        raise Invalid(f"target {row.name!r} is {row.kind}: it has no host key", field="target")
    task = context.orchestrator.submit_scan(context, row)
    return Done(TaskCreated(task=task.id), f"target:{row.id}", detail={"task": task.id})


def _confirm(context: Context, body: ConfirmHostKey) -> Done:
    if not (body.host_key or body.fingerprint):
        raise Invalid("expected host_key or fingerprint", field="fingerprint")
    row = targeting.target(body.target)
    before = row.endpoint.get("host_key", "")
    row = host_keys.confirm_host_key(context, row, host_key=body.host_key, fingerprint=body.fingerprint)
    detail = {
        "name": row.name,
        "fingerprint": fingerprint_of(row.endpoint["host_key"]),
        "before": fingerprint_of(before) if before else None,
    }
    return Done(target_view(row), f"target:{row.id}", detail=detail)


def _done(row: Target) -> Done:
    place = {name: row.endpoint[name] for name in ("host", "port", "address", "region") if row.endpoint.get(name)}
    detail = {"name": row.name, "kind": str(row.kind), "roles": row.roles, **place}
    return Done(target_view(row), f"target:{row.id}", detail=detail)


OPERATIONS = (
    Operation(
        "target.create",
        "Add an SSH machine, a cloud target, or a machine that listens",
        CreateTarget,
        TargetView,
        Permission.TARGET_EDIT,
        _create,
        _create_scopes,
        status=201,
    ),
    Operation(
        "target.set-endpoint",
        "Change where a target is and how one gets in",
        SetEndpoint,
        TargetView,
        Permission.TARGET_EDIT,
        _set_endpoint,
        _target_scopes,
    ),
    Operation(
        "target.scan-host-key",
        "Look which host key an SSH target shows; nothing is believed",
        OfSshTarget,
        TaskCreated,
        Permission.TARGET_CHECK,
        _scan,
        _target_scopes,
        status=201,
    ),
    Operation(
        "target.confirm-host-key",
        "Pin the host key that was compared on the machine's console",
        ConfirmHostKey,
        TargetView,
        Permission.TARGET_EDIT,
        _confirm,
        _target_scopes,
        step_up=True,
    ),
)

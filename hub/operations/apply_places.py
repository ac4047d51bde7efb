"""What `apply` does with accounts and targets: each answers how it was written before, how it is now, and its id."""

from dataclasses import replace
from typing import Any

from hub.errors import Conflict
from hub.infrastructure import accounts, machine_policies, targets
from hub.infrastructure.accounts import AccountRequest
from hub.infrastructure.endpoint_body import EndpointBody
from hub.infrastructure.machine_policies import PolicyRequest
from hub.operations import reached_targets
from hub.operations.context import Context
from hub.operations.operation import Scope, require
from hub.operations.reached_targets import CreateTarget
from hub.permissions import Permission
from hub.projects import documents, finding, targeting
from hub.projects.documents import AccountDocument, MachinePolicyDocument, TargetDocument
from hub.projects.shells import check_shell
from hub.queries.environments import names as environment_names
from hub.queries.machine_policies import policy_row
from hub.states import AccountKind, Unavailable
from hub.storage.models import Account, MachinePolicy, Target

Document = dict[str, Any]
Applied = tuple[Document | None, Document, str]


def apply_account(context: Context, document: AccountDocument) -> Applied:
    require(context.caller, Permission.ACCOUNT_EDIT, Scope())
    row = finding.existing(Account, document.name)
    if row is None:
        row = accounts.create_account(context, _account_wanted(document, None))
        return None, _account_document(row), row.id
    before = _account_document(row)
    row = accounts.update_account(context, row.id, _account_wanted(document, row))
    return before, _account_document(row), row.id


def apply_machine_policy(context: Context, document: MachinePolicyDocument) -> Applied:
    """What is not said stays as it is, or is as in the default policy."""
    require(context.caller, Permission.MACHINE_POLICY_EDIT, Scope())
    row = finding.existing(MachinePolicy, document.name)
    given = document.model_dump(exclude={"kind"}, exclude_none=True)
    if "shell" in given:
        check_shell(context.step_kinds, given["shell"])
    if "unavailable" in given:
        given["unavailable"] = Unavailable(given["unavailable"])
    if row is None:
        row = machine_policies.create_policy(context, PolicyRequest(**given))
        return None, documents.machine_policy_document(row), row.id
    before = documents.machine_policy_document(row)
    wanted = replace(machine_policies.as_it_is(row), **(_without_others(given) | given))
    row = machine_policies.update_policy(context, row.id, wanted)
    return before, documents.machine_policy_document(row), row.id


def _without_others(given: Document) -> Document:
    """What goes with another way to treat targets that are away goes with it."""
    way = given.get("unavailable")
    if way is None:
        return {}
    return ({} if way is Unavailable.WAIT else {"wait_s": 0}) | ({} if way is Unavailable.SKIP else {"catch_up": False})


def apply_target(context: Context, document: TargetDocument) -> Applied:
    """Make a target that its document says how to reach; change any that exists."""
    wanted = _environment_ids(document.environments or [])
    row = finding.existing(Target, document.name)
    if row is None and document.type is not None:
        _require_edit(context, {*wanted})
        row = reached_targets.create(context, _creation(document))
        _give_policy(context, row, document)
        return None, _target_document(row), row.id
    row = targeting.target(document.name, "name")
    if document.type not in {None, str(row.kind)}:
        raise Conflict(f"target {row.name!r} is {row.kind}; delete it to make it {document.type}", field="type")
    return _change_target(context, row, document, wanted)


def _change_target(context: Context, row: Target, document: TargetDocument, wanted: list[str]) -> Applied:
    present = set(targeting.environments_of(row))
    _require_edit(context, {*present, *wanted})
    before = _target_document(row)
    if any(getattr(document, name) is not None for name in EndpointBody.model_fields):
        reached_targets.change(context, row, document)
    roles_differ = document.roles is not None and sorted(set(document.roles)) != sorted(row.roles)
    moved = document.environments is not None and set(wanted) != present
    if roles_differ or moved:
        row = targets.update_target(
            context,
            row.id,
            roles=document.roles,
            environments=wanted if document.environments is not None else None,
        )
    _give_policy(context, row, document)
    return before, _target_document(row), row.id


def _give_policy(context: Context, row: Target, document: TargetDocument) -> None:
    if document.policy is not None:
        machine_policies.give_policy(row, policy_row(document.policy, "policy"), context.now_ms)


def _creation(document: TargetDocument) -> CreateTarget:
    given = document.model_dump(exclude={"type", "kind", "policy"}, exclude_none=True)
    return CreateTarget.model_validate({"kind": document.type, **given})


def _require_edit(context: Context, environments: set[str]) -> None:
    for scope in [Scope(environment=found) for found in environments] or [Scope()]:
        require(context.caller, Permission.TARGET_EDIT, scope)


def _account_wanted(document: AccountDocument, row: Account | None) -> AccountRequest:
    """What is not said stays as it is."""
    kept = row or Account(fields={}, secrets_sealed={}, environments=[], description="")
    environments = kept.environments if document.environments is None else _environment_ids(document.environments)
    return AccountRequest(
        name=document.name,
        kind=AccountKind(document.type),
        fields=kept.fields if document.fields is None else document.fields,
        secrets=dict.fromkeys(kept.secrets_sealed) if document.secrets is None else document.secrets,
        environments=environments,
        description=kept.description if document.description is None else document.description,
    )


def _account_document(row: Account) -> Document:
    """A secret's change shows in the number of its value; the value itself nowhere."""
    shown = {name: {"value": "***", "value_version": kept["version"]} for name, kept in row.secrets_sealed.items()}
    return {**documents.account_document(row, environment_names()), "secrets": shown}


def _target_document(row: Target) -> Document:
    return documents.target_document(row, environment_names())


def _environment_ids(refs: list[str]) -> list[str]:
    return [finding.environment(ref, f"environments.{index}").id for index, ref in enumerate(refs)]

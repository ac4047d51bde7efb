"""Accounts as operations: `hub/infrastructure/accounts.py` does the work. Secrets go in, and none comes out."""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from hub.infrastructure import accounts
from hub.infrastructure.accounts import AccountRequest
from hub.operations.body import Body, IfVersion, Line, Name, Nothing, Ref, RefList
from hub.operations.context import Context
from hub.operations.operation import Done, JsonObject, Operation
from hub.operations.sealed_values import Path
from hub.permissions import Permission
from hub.projects import finding
from hub.queries.accounts import AccountView, account_row, view
from hub.states import AccountKind
from hub.storage.models import Account

FieldName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")]
FieldValue = Annotated[str, StringConstraints(max_length=65_536)]
Kind = Literal["ssh-key", "password", "aws", "azure", "google", "generic"]


class AccountBody(Body):
    """`secrets`: null keeps the value that is there; `environments`: in which alone it may be used."""

    name: Name
    kind: Kind
    fields: Annotated[dict[FieldName, FieldValue], Field(max_length=100)] = Field(default_factory=dict)
    secrets: Annotated[dict[FieldName, FieldValue | None], Field(max_length=100)] = Field(
        default_factory=dict, repr=False
    )
    environments: RefList = Field(default_factory=list)
    description: Line = ""


class UpdateAccount(AccountBody):
    account: Ref
    if_version: IfVersion


class OfAccount(Body):
    account: Ref


def secret_paths(request: JsonObject) -> Iterable[Path]:
    """Values of secrets, in a request that was not validated yet."""
    named = request.get("secrets")
    return [("secrets", name) for name in named] if isinstance(named, dict) else []


def wanted(body: AccountBody) -> AccountRequest:
    environments = [finding.environment(ref, f"environments.{index}").id for index, ref in enumerate(body.environments)]
    return AccountRequest(
        name=body.name,
        kind=AccountKind(body.kind),
        fields=body.fields,
        secrets=body.secrets,
        environments=environments,
        description=body.description,
    )


def _create(context: Context, body: AccountBody) -> Done:
    return _done(accounts.create_account(context, wanted(body)))


def _update(context: Context, body: UpdateAccount) -> Done:
    row = account_row(body.account)
    finding.check_version(row, body.if_version)
    return _done(accounts.update_account(context, row.id, wanted(body)))


def _delete(context: Context, body: OfAccount) -> Done:
    row = accounts.delete_account(context, account_row(body.account).id)
    return Done(Nothing(), f"account:{row.id}", detail={"name": row.name})


def _done(row: Account) -> Done:
    detail = {"name": row.name, "kind": str(row.kind), "secrets": sorted(row.secrets_sealed)}
    return Done(view(row), f"account:{row.id}", detail=detail)


OPERATIONS = (
    Operation(
        "account.create",
        "Keep a login or a cloud's credentials",
        AccountBody,
        AccountView,
        Permission.ACCOUNT_EDIT,
        _create,
        status=201,
        secrets=secret_paths,
    ),
    Operation(
        "account.update",
        "Change an account; a secret that is null keeps its value",
        UpdateAccount,
        AccountView,
        Permission.ACCOUNT_EDIT,
        _update,
        secrets=secret_paths,
    ),
    Operation(
        "account.delete",
        "Remove an account that no target uses",
        OfAccount,
        Nothing,
        Permission.ACCOUNT_EDIT,
        _delete,
        status=204,
    ),
)

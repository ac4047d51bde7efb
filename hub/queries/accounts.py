"""Accounts as people see them: which secrets they hold, never a value of one."""

from hub.infrastructure import accounts
from hub.operations.body import Reply
from hub.projects import finding
from hub.queries import environments as environment_queries
from hub.queries.listing import Order, Page, Slice, page, time_text
from hub.storage.models import Account


class AccountView(Reply):
    """`secrets`: their names; the values are written and never read. `targets`: those that get in with it."""

    id: str
    name: str
    kind: str
    fields: dict[str, str]
    secrets: list[str]
    environments: list[str]
    description: str
    targets: list[str]
    created_at: str
    version: int


def view(row: Account) -> AccountView:
    names = environment_queries.names()
    return AccountView(
        id=row.id,
        name=row.name,
        kind=str(row.kind),
        fields=dict(row.fields),
        secrets=sorted(row.secrets_sealed),
        environments=sorted(names.get(found, found) for found in row.environments),
        description=row.description,
        targets=[target.name for target in accounts.users_of(row)],
        created_at=time_text(row.created_at),
        version=row.version,
    )


def all_accounts(part: Slice, *, kind: str = "") -> Page[AccountView]:
    query = Account.select()
    if kind:
        query = query.where(Account.kind == kind)
    return page(query, Order(Account.name, Account.id), part, view)


def account_row(ref: str) -> Account:
    row: Account = finding.find(Account, ref, "account", names=(Account.name,))
    return row


def account(ref: str) -> AccountView:
    return view(account_row(ref))

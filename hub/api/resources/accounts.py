"""`/accounts`: what they hold by name; values of secrets go in and are never shown."""

from typing import Literal

from hub.api.query_string import ListQuery
from hub.api.route import Call, Resource
from hub.permissions import Permission
from hub.queries import accounts as queries
from hub.queries.accounts import AccountView
from hub.queries.listing import Page

RESOURCE = Resource("accounts")


class AccountsQuery(ListQuery):
    kind: Literal["", "ssh-key", "password", "aws", "azure", "google", "generic"] = ""


@RESOURCE.get("/accounts", Page[AccountView], Permission.ACCOUNT_VIEW, "All accounts", query=AccountsQuery)
def list_all(call: Call) -> Page[AccountView]:
    return queries.all_accounts(call.query.slice, kind=call.query.kind)


@RESOURCE.get("/accounts/<account>", AccountView, Permission.ACCOUNT_VIEW, "One account")
def show(_: Call, account: str) -> AccountView:
    return queries.account(account)


RESOURCE.change("POST", "/accounts", "account.create")
RESOURCE.change("PUT", "/accounts/<account>", "account.update")
RESOURCE.change("DELETE", "/accounts/<account>", "account.delete")

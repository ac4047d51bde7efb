"""The one change that nobody signed in may ask for: whoever has the one-time setup code becomes an administrator.

The code is the credential; the engine spends it in the transaction that makes the person.
"""

from typing import Annotated

from pydantic import Field, StringConstraints

from hub.access import users
from hub.access.caller import Caller
from hub.errors import NotSignedIn
from hub.operations.access import PasswordHash, UserName, password_path
from hub.operations.body import Body
from hub.operations.context import Context
from hub.operations.operation import Done, JsonObject, Operation
from hub.operations.sealed_values import Path
from hub.queries.access import UserView, user_view
from wire.messages import Credential, CredentialKind

CREATE_FIRST = "administrator.create-first"


class CreateFirst(Body):
    code: Annotated[str, StringConstraints(min_length=1, max_length=100), Field(repr=False)]
    name: UserName
    password_hash: PasswordHash


def stranger(operation: str = CREATE_FIRST) -> Caller:
    """Somebody who is nobody yet, for this one operation.

    Raises:
        NotSignedIn: It is another one.
    """
    if operation != CREATE_FIRST:
        raise NotSignedIn("this needs a session or an API key")
    return Caller("nobody", "nobody", (), frozenset(), Credential(CredentialKind.LOCAL, "setup"))


def _secrets(request: JsonObject) -> list[Path]:
    return [("code",), *password_path(request)]


def _create_first(context: Context, body: CreateFirst) -> Done:
    row = users.first_administrator(context.seals, body.code, body.name, body.password_hash, context.now_ms)
    return Done(user_view(row), f"user:{row.id}", detail={"name": row.name})


OPERATIONS = (
    Operation(
        CREATE_FIRST,
        "Become the first administrator with the setup code",
        CreateFirst,
        UserView,
        None,
        _create_first,
        status=201,
        secrets=_secrets,
    ),
)

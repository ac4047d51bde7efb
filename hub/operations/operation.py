"""Every change is an operation, declared once: name, body, reply, permission, scope, and the function that does it.

    REST route, command line, `apply`  ->  asking (portal)  ->  answering (engine)  ->  perform: one transaction

`perform` is the only caller of an operation's function: it validates, authorises and records; no face can forget it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from hub.access.caller import Caller
from hub.errors import Invalid, NotAllowed, NotFound
from hub.operations.body import Body
from hub.operations.context import Context
from hub.operations.sealed_values import Path
from hub.permissions import Permission

JsonObject = dict[str, Any]
B = TypeVar("B", bound=Body)
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a permission is asked for: ids, or None for "in none, or in all"."""

    project: str | None = None
    environment: str | None = None


EVERYWHERE = (Scope(),)


@dataclass(frozen=True, slots=True)
class Done:
    """What an operation did: its answer, and what its event row says.

    `object` is `<kind>:<id>`. `recorded`: the function wrote its event rows itself, since more than one thing happened.
    """

    reply: BaseModel
    object: str
    project: str | None = None
    environment: str | None = None
    detail: JsonObject = field(default_factory=dict)
    recorded: bool = False
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Operation(Generic[B]):
    """One way to change something.

    Attributes:
        name: `<resource>.<verb>`, which is also the action of its event row.
        body: What must be said; unknown fields are refused.
        reply: What is answered.
        permission: What the caller must hold in each of the scopes; None: it concerns the caller's own.
        scopes: Where: for a writer, of what is there and of what it becomes. Finds rows; may raise NotFound.
        run: Does it, inside the transaction.
        status: Of the HTTP answer.
        step_up: A session must have proved its password again just now.
        secrets: Paths of the values that must never be shown, in a request as it was typed.
    """

    name: str
    summary: str
    body: type[B]
    reply: type[BaseModel]
    permission: Permission | None
    run: Callable[[Context, B], Done]
    scopes: Callable[[B], Sequence[Scope]] = lambda _: EVERYWHERE
    status: int = 200
    step_up: bool = False
    secrets: Callable[[JsonObject], Iterable[Path]] = lambda _: ()


def validated(body: type[Model], request: JsonObject) -> Model:
    """The request as a body.

    Raises:
        Invalid: the first fault, with its field; what was typed is not repeated.
    """
    try:
        return body.model_validate(request)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        raise Invalid(sentence_of(first), field=".".join(_plain(first["loc"]))) from None


def sentence_of(fault: Any) -> str:
    """One of pydantic's faults in our words."""
    kind, message = fault["type"], str(fault["msg"])
    if kind == "extra_forbidden":
        return "nobody knows this field"
    if kind == "missing":
        return "is missing"
    return message.removeprefix("Value error, ").replace("Input should be", "expected", 1)


def authorise(operation: Operation[B], caller: Caller, body: B) -> None:
    """Refuse who may not, in every scope that the operation touches.

    Raises:
        NotFound: a project that the caller may not even see. NotAllowed: names the missing permission.
    """
    for scope in operation.scopes(body):
        require(caller, operation.permission, scope)


def require(caller: Caller, permission: Permission | None, scope: Scope) -> None:
    if permission is None or caller.may(permission, scope.project, scope.environment):
        return
    if scope.project is not None and not caller.sees_project(scope.project):
        raise NotFound("no such project, or nothing in it that you may see")
    raise NotAllowed(f"this needs the permission {permission}", code="NOT_ALLOWED")


def perform(operation: Operation[B], context: Context, request: JsonObject) -> tuple[int, JsonObject]:
    """Validate, authorise, do and record. The caller holds the `write_tx`.

    Returns:
        The status and the body of the answer.
    """
    body = validated(operation.body, request)
    authorise(operation, context.caller, body)
    if operation.step_up:
        context.caller.require_step_up(context.now_ms)
    done = operation.run(context, body)
    if not done.recorded:
        context.record(
            operation.name, done.object, project=done.project, environment=done.environment, detail=done.detail
        )
    return done.status or operation.status, done.reply.model_dump(mode="json", by_alias=True)


def _plain(location: Iterable[int | str]) -> list[str]:
    """A path without the names that pydantic gives to the arms of a union."""
    return [str(part) for part in location if isinstance(part, int) or part.isidentifier() or "-" in part]

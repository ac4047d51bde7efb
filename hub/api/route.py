"""A route as a declaration: method, path, what it needs, what it takes, what it answers. OpenAPI is read off the same.

    resource = Resource("projects")

    @resource.get("/projects/<project>", ProjectView, Permission.PROJECT_VIEW, "One project")
    def show(call: Call, project: str) -> ProjectView: ...

    resource.change("PUT", "/projects/<project>", "project.update", "Change a project")

A reading route calls a query. A changing route has no code at all: the operation of that name is asked for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote

from flask import Blueprint, Response, json, request
from pydantic import BaseModel

from hub.access.caller import Caller
from hub.api import entity_tags, reading
from hub.api.declared import Declared, declare
from hub.api.guard import present_caller
from hub.api.parts import ApiParts
from hub.api.problems import Problem
from hub.api.query_string import Query
from hub.operations.asking import Answer
from hub.operations.catalogue import CATALOGUE
from hub.operations.operation import Operation, validated
from hub.permissions import Permission
from hub.storage.database import connection

BASE = "/api/v1"
View = TypeVar("View", bound=Callable[..., Any])
JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as its view sees it."""

    caller: Caller
    parts: ApiParts
    query: Any = None


@dataclass(frozen=True, slots=True)
class Route:
    """`path` is a rule below BASE. `operation` is set where the route changes something; then `view` is None."""

    method: str
    path: str
    tag: str
    summary: str
    declared: Declared
    reply: type[BaseModel] | None
    status: int = 200
    query: type[Query] = Query
    view: Callable[..., Any] | None = None
    operation: Operation[Any] | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    media_type: str = "application/json"
    also: tuple[int, ...] = ()
    body: type[BaseModel] | None = None
    body_media_types: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def parameters(self) -> list[str]:
        """Names in the path, in order."""
        return [part.split(":")[-1].strip("<>") for part in self.path.split("/") if part.startswith("<")]

    @property
    def has_precondition(self) -> bool:
        return self.method == "PUT"


class Resource:
    """The routes of one resource, in the order of their declaration."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.routes: list[Route] = []

    def get(
        self,
        path: str,
        reply: type[BaseModel] | None,
        needs: Permission | Declared,
        summary: str,
        *,
        query: type[Query] = Query,
        media_type: str = "application/json",
    ) -> Callable[[View], View]:
        """Declare a reading view: `(call, **names in the path) -> reply | Response`."""
        declared = needs if isinstance(needs, Declared) else Declared(permission=needs)

        def add(view: View) -> View:
            self.routes.append(
                Route("GET", path, self.tag, summary, declared, reply, query=query, view=view, media_type=media_type)
            )
            return view

        return add

    def change(
        self,
        method: str,
        path: str,
        operation_name: str,
        summary: str = "",
        *,
        names: Mapping[str, str] | None = None,
    ) -> None:
        """Declare a changing route; `names` maps a name in the path to the body's field, where they differ."""
        operation = CATALOGUE[operation_name]
        declared = Declared(permission=operation.permission) if operation.permission else Declared(own=True)
        self.routes.append(
            Route(
                method,
                path,
                self.tag,
                summary or operation.summary,
                declared,
                operation.reply,
                operation.status,
                operation=operation,
                names=names or {},
                also=(202,),
            )
        )

    def post(
        self,
        path: str,
        reply: type[BaseModel],
        needs: Permission | Declared,
        summary: str,
        *,
        status: int = 200,
        body: type[BaseModel] | None = None,
        body_media_types: tuple[str, ...] = ("application/json",),
        query: type[Query] = Query,
    ) -> Callable[[View], View]:
        """Declare a POST with a view of its own: an upload, a question that is too long for an address."""
        declared = needs if isinstance(needs, Declared) else Declared(permission=needs)

        def add(view: View) -> View:
            self.routes.append(
                Route(
                    "POST", path, self.tag, summary, declared, reply, status,
                    query=query, view=view, body=body, body_media_types=body_media_types,
                )
            )  # fmt: skip
            return view

        return add


def register(blueprint: Blueprint, parts: ApiParts, route: Route) -> None:
    """Put one route on the blueprint, with its declaration on the view."""
    endpoint = f"{route.method.lower()} {route.path}".replace(".", "_")
    serve = _changing(parts, route) if route.operation else _reading(parts, route)
    blueprint.add_url_rule(route.path, endpoint, declare(serve, route.declared), methods=[route.method])


def _reading(parts: ApiParts, route: Route) -> Callable[..., Response]:
    view = route.view
    assert view is not None

    def serve(**path: str) -> Response:
        reading.check_path(path.values())
        caller = _anybody() if route.declared.is_public else present_caller()
        call = Call(caller, parts, reading.query(route.query))
        with connection():
            found = view(call, **path)
        if isinstance(found, Response):
            return found
        return entity_tags.answer(found, route.status)

    return serve


def _anybody() -> Any:
    """Nobody in particular: a public view looks at no caller."""
    return None


def _changing(parts: ApiParts, route: Route) -> Callable[..., Response]:
    operation = route.operation
    assert operation is not None

    def serve(**path: str) -> Response:
        reading.check_path(path.values())
        reading.query(Query)
        named: JsonObject = {route.names.get(name, name): value for name, value in path.items()}
        if route.has_precondition:
            named["if_version"] = entity_tags.wanted_version(request)
        wanted = reading.json_body(parts.limits.json_bytes, reserved=named.keys()) | named
        # Judged here for a quick answer, and again by the engine, which trusts nobody.
        validated(operation.body, wanted)
        return answer_of(ask(parts, operation, wanted), _collection(route))

    return serve


def ask(
    parts: ApiParts, operation: Operation[Any], wanted: JsonObject, *, identity: JsonObject | None = None
) -> Answer:
    """Ask the engine in the name of the present caller; `identity` as `Asking.ask` has it.

    Raises:
        Problem: it refused.
    """
    answer = parts.asking.ask(
        operation,
        wanted,
        present_caller(),
        idempotency_key=reading.idempotency_key() if request.method == "POST" else "",
        identity=identity,
        wait_s=parts.limits.answer_wait_s,
    )
    if answer.status >= 400:
        raise Problem(answer.status, answer.body)
    return answer


def answer_of(answer: Answer, collection: str) -> Response:
    """The engine's answer as a response; 202 with a link where it has not come to it yet.

    Args:
        answer: The engine's.
        collection: The path below BASE under which a new thing is found by its id.
    """
    if answer.status == 202 and not answer.body:
        link = f"{BASE}/intents/{answer.intent}"
        response = _json({"intent": answer.intent, "state": "waiting", "link": link}, 202)
        response.headers["Location"] = link
        response.headers["Retry-After"] = "1"
    elif answer.status == 204:
        response = Response(status=204)
    else:
        response = _json(answer.body, answer.status)
        entity_tags.tag(response, answer.body)
        if answer.status == 201 and "id" in answer.body:
            response.headers["Location"] = f"{BASE}{collection}/{answer.body['id']}"
    if answer.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response


def _collection(route: Route) -> str:
    """The route's path with the names of this request in it."""
    path = route.path
    for name in route.parameters:
        path = path.replace(f"<{name}>", quote(str((request.view_args or {}).get(name, "")), safe=""))
    return path


def _json(body: JsonObject, status: int) -> Response:
    return Response(json.dumps(body), status, content_type="application/json")

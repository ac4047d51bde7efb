"""The OpenAPI 3.1 document, read off the routes: what is declared is what is documented. PURE."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from hub.api.route import BASE, Route

JsonObject = dict[str, Any]
_REF = "#/components/schemas/{model}"
_IMPLIED = frozenset({"if_version"})


def document(routes: Iterable[Route], release: str) -> JsonObject:
    """One document for all routes, in their order."""
    listed = list(routes)
    schemas, names = _schemas(listed)
    paths: dict[str, JsonObject] = {}
    for route in listed:
        paths.setdefault(_path(route), {})[route.method.lower()] = _operation(route, names, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Manyarm",
            "version": release,
            "description": "Everything that the portal can do. Errors are RFC 9457 problem documents.",
        },
        "servers": [{"url": BASE}],
        "security": [{"api_key": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in listed)],
        "paths": paths,
        "components": {
            "schemas": schemas | {"Problem": _PROBLEM, "Waiting": _WAITING},
            "securitySchemes": {"api_key": {"type": "http", "scheme": "bearer", "bearerFormat": "mak_…"}},
            "responses": {
                "Problem": {
                    "description": "What went wrong, and where.",
                    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
                }
            },
        },
    }


_PROBLEM: JsonObject = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "Stable; compare this."},
        "detail": {"type": "string", "description": "For people."},
        "field": {"type": "string", "description": "The dotted path of the field at fault."},
        "line": {"type": "integer", "description": "Of the project file, where the client sent line numbers."},
        "document": {"type": "integer", "description": "Which document of the project file, from 0."},
        "request_id": {"type": "string"},
    },
}
_WAITING: JsonObject = {
    "type": "object",
    "required": ["intent", "state", "link"],
    "properties": {"intent": {"type": "string"}, "state": {"const": "waiting"}, "link": {"type": "string"}},
}


def _schemas(routes: list[Route]) -> tuple[dict[str, JsonObject], Mapping[Any, str]]:
    inputs = [m for route in routes if (m := _input_model(route)) is not None]
    outputs = [route.reply for route in routes if route.reply is not None]
    models = [(m, "validation") for m in dict.fromkeys(inputs)] + [(m, "serialization") for m in dict.fromkeys(outputs)]
    mapping, definitions = models_json_schema(models, ref_template=_REF)  # type: ignore[arg-type]  # literals
    names = {model: schema["$ref"].rpartition("/")[2] for (model, _), schema in mapping.items()}
    return dict(definitions.get("$defs", {})), names


def _input_model(route: Route) -> type[BaseModel] | None:
    return route.operation.body if route.operation is not None else route.body


def _path(route: Route) -> str:
    path = route.path
    for part in route.path.split("/"):
        if part.startswith("<"):
            path = path.replace(part, "{" + part.split(":")[-1].strip("<>") + "}")
    return path


def _operation(route: Route, names: Mapping[Any, str], schemas: dict[str, JsonObject]) -> JsonObject:
    found: JsonObject = {
        "tags": [route.tag],
        "summary": route.summary,
        "operationId": _operation_id(route),
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)],
        "responses": _responses(route, names),
    }
    if route.declared.is_public:
        found["security"] = []
    elif route.declared.permission is not None:
        found["x-permission"] = str(route.declared.permission)
    body = _request_body(route, names, schemas)
    if body is not None:
        found["requestBody"] = body
    return found


def _operation_id(route: Route) -> str:
    if route.operation is not None:
        return route.operation.name
    words = [part.split(":")[-1].strip("<>") for part in route.path.split("/") if part]
    return ".".join([*words, route.method.lower()])


def _path_parameters(route: Route) -> list[JsonObject]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "description": "Name or id."}
        for name in route.parameters
    ]


def _query_parameters(route: Route) -> list[JsonObject]:
    properties = route.query.model_json_schema().get("properties", {})
    required = route.query.model_json_schema().get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": schema}
        for name, schema in properties.items()
    ]


def _header_parameters(route: Route) -> list[JsonObject]:
    if route.has_precondition:
        return [{"name": "If-Match", "in": "header", "required": True, "schema": {"type": "string"}}]
    if route.method == "POST" and route.operation is not None:
        return [{"name": "Idempotency-Key", "in": "header", "required": False, "schema": {"type": "string"}}]
    return []


def _request_body(route: Route, names: Mapping[Any, str], schemas: dict[str, JsonObject]) -> JsonObject | None:
    model = _input_model(route)
    if model is None:
        return _raw_body(route)
    implied = {route.names.get(name, name) for name in route.parameters} | _IMPLIED
    name = names[model]
    schema = schemas[name]
    properties = {key: value for key, value in schema.get("properties", {}).items() if key not in implied}
    if not properties or route.method == "DELETE":
        return None
    required = [key for key in schema.get("required", []) if key not in implied]
    if properties.keys() == schema.get("properties", {}).keys():
        content: JsonObject = {"$ref": _REF.format(model=name)}
    else:
        content = schema | {"properties": properties, "required": required, "title": f"{name}Request"}
    return {"required": bool(required), "content": {"application/json": {"schema": content}}}


def _raw_body(route: Route) -> JsonObject | None:
    if route.method != "POST":
        return None
    return {"required": True, "content": {kind: {} for kind in route.body_media_types}}


def _responses(route: Route, names: Mapping[Any, str]) -> JsonObject:
    found: JsonObject = {"default": {"$ref": "#/components/responses/Problem"}}
    described: JsonObject = {"description": HTTPStatus(route.status).phrase}
    if route.reply is not None and route.status != 204:
        described["content"] = {route.media_type: {"schema": {"$ref": _REF.format(model=names[route.reply])}}}
    elif route.status != 204:
        described["content"] = {route.media_type: {}}
    found[str(route.status)] = described
    if 202 in route.also and route.status != 202:
        waiting = {"application/json": {"schema": {"$ref": "#/components/schemas/Waiting"}}}
        found["202"] = {"description": "The engine has not come to it yet.", "content": waiting}
    return found

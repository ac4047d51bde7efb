"""The API as a Flask application, or as a guest on the portal's: default deny, one shape of errors, one of headers."""

from collections.abc import Callable
from importlib import metadata
from typing import Any

from flask import Blueprint, Flask, Response, json, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from hub.api import guard, headers, health, openapi, problems
from hub.api.declared import public, refuse_undeclared
from hub.api.parts import ApiParts
from hub.api.resources import ALL_RESOURCES
from hub.api.route import BASE, Route, register
from hub.errors import HubError
from hub.storage.patience import patience

PageError = Callable[[Exception], ResponseReturnValue]

_FORM_PARTS_MAX = 100
_FORM_BYTES_MAX = 500_000
# The answer that the database does not answer comes within two seconds. An upload asks it thousands of things.
_PATIENCE_S = 1.5
_UPLOAD_PATIENCE_S = 60.0
_SMALL_BYTES = 256 * 1024


def create_app(parts: ApiParts) -> Flask:
    """The API alone.

    Raises:
        Undeclared: a view declares neither a permission nor why it is public.
    """
    app = Flask("manyarm", static_folder=None)
    mount(app, parts)
    refuse_undeclared(app)
    return app


def mount(app: Flask, parts: ApiParts, page_error: PageError | None = None) -> None:
    """Put `/api/v1`, `/healthz`, `/readyz` and `/metrics` on an application, which calls `refuse_undeclared` at last.

    Args:
        app: The API alone, or a portal.
        parts: What the API is made of.
        page_error: Answers errors outside of the API's addresses; without it they are problem documents too.
    """
    _set_limits(app, parts)
    app.wsgi_app = _with_patience(app.wsgi_app)  # type: ignore[method-assign]  # Flask's own way.
    headers.install(app)
    guard.install(app, parts)
    blueprint = Blueprint("api", __name__, url_prefix=BASE)
    for route in all_routes():
        register(blueprint, parts, route)
    _describe(blueprint)
    app.register_blueprint(blueprint)
    health.install(app, parts)

    def answer_error(error: Exception) -> ResponseReturnValue:
        if page_error is not None and not request.path.startswith(guard.API_PREFIXES):
            return page_error(error)
        return problems.response_of(error)

    for kind in (HubError, HTTPException, Exception):
        app.register_error_handler(kind, answer_error)


def all_routes() -> list[Route]:
    return [route for resource in ALL_RESOURCES for route in resource.routes]


def release() -> str:
    try:
        return metadata.version("manyarm")
    except metadata.PackageNotFoundError:
        return "0"


def _with_patience(serve: Callable[..., Any]) -> Callable[..., Any]:
    """A request waits for the database for so long, and is told then; what streams afterwards is not counted."""

    def serve_patiently(environ: dict[str, Any], start: Any) -> Any:
        length = environ.get("CONTENT_LENGTH") or ("0" if "HTTP_TRANSFER_ENCODING" not in environ else "")
        is_small = length.isdigit() and int(length) <= _SMALL_BYTES
        with patience(_PATIENCE_S if is_small else _UPLOAD_PATIENCE_S):
            return serve(environ, start)

    return serve_patiently


def _set_limits(app: Flask, parts: ApiParts) -> None:
    # `//`, `;x` and a trailing slash are other addresses, not other spellings.
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = True
    app.config["MAX_CONTENT_LENGTH"] = parts.limits.upload_bytes
    app.config["MAX_FORM_PARTS"] = _FORM_PARTS_MAX
    app.config["MAX_FORM_MEMORY_SIZE"] = _FORM_BYTES_MAX
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.json.sort_keys = False  # type: ignore[attr-defined]  # the default provider has it


def _describe(blueprint: Blueprint) -> None:
    document = json.dumps(openapi.document(all_routes(), release()))

    def describe() -> Response:
        return Response(document, content_type="application/json")

    view = public(reason="says what the API is like, and nothing of what is in it")(describe)
    blueprint.add_url_rule("/openapi.json", "openapi", view, methods=["GET"])

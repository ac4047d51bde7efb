"""The HTTPS door for spokes: everything that passes it is signed, sealed or ciphertext, and nothing is opened here."""

import logging
import secrets
from typing import Any

from flask import Flask, Response, g, jsonify, request
from werkzeug.exceptions import HTTPException

from hub.errors import HubError
from hub.gateway import artifacts, chunks, documents, enrolments, fleet, install
from hub.gateway.parts import GatewayParts
from hub.storage.database import connection
from wire.errors import Refused

logger = logging.getLogger(__name__)

# Enrolment frames have 2 KiB, lists of chunk ids some 300; only an artifact is larger, and it has a limit of its own.
_BODY_MAX = 1024 * 1024
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def create_gateway(parts: GatewayParts) -> Flask:
    """The application; served by hub/serving.py with the key that the trust document pins."""
    app = Flask("hub.gateway", static_folder=None, template_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = _BODY_MAX
    for room in (documents, enrolments, chunks, artifacts, fleet, install):
        app.register_blueprint(room.routes(parts))
    app.before_request(_open_connection)
    app.teardown_request(_close_connection)
    app.after_request(_harden)
    app.register_error_handler(Refused, _refused)
    app.register_error_handler(HubError, _hub_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)
    return app


def _open_connection() -> None:
    g.database = connection()
    g.database.__enter__()


def _close_connection(_error: BaseException | None) -> None:
    opened = g.pop("database", None)
    if opened is not None:
        opened.__exit__(None, None, None)


def _harden(response: Response) -> Response:
    response.headers.update(_HEADERS)
    return response


def _refused(refusal: Refused) -> tuple[Response, int]:
    logger.info("request refused", extra={"code": str(refusal.code), "ref": refusal.ref, "path": request.path})
    return _problem(str(refusal.code), refusal.explanation.sentence, refusal.ref), 403


def _hub_error(error: HubError) -> tuple[Response, int]:
    return _problem(error.code, error.detail), error.status


def _http_error(error: HTTPException) -> tuple[Response, int]:
    status = error.code or 500
    return _problem(f"HTTP_{status}", error.name), status


def _unexpected(error: Exception) -> tuple[Response, int]:
    ref = secrets.token_hex(4)
    logger.error("request failed", exc_info=error, extra={"ref": ref, "path": request.path})
    return _problem("INTERNAL", "Something went wrong here; the hub's log has it under this reference.", ref), 500


def _problem(code: str, message: str, ref: str = "") -> Response:
    body: dict[str, Any] = {"code": code, "message": message, "ref": ref or secrets.token_hex(4)}
    return jsonify(body)

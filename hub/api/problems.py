"""Errors as RFC 9457 problem documents: one shape, a code that programs compare, a sentence that people read.

    {"type": "about:blank", "title": "Not Found", "status": 404, "code": "NOT_FOUND", "detail": "…", "field": "project",
     "request_id": "9f2c…"}

`code` and `detail` never hold what was typed, a trace, or anything of another person's.
"""

import logging
from http import HTTPStatus
from typing import Any

from flask import Response, g, json, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from hub.errors import HubError, TooMany, Unavailable
from hub.storage.database import database_is_away

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

DATABASE_AWAY = "the database does not answer in time (it is stopped, locked or slow); nothing was changed: try again"
"""Where the hub's own work goes on as soon as it does."""

_CODES = {
    400: "INVALID",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    408: "TIMED_OUT",
    411: "LENGTH_REQUIRED",
    413: "TOO_LARGE",
    414: "TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    431: "TOO_LARGE",
}


class UnsupportedMediaType(HubError):
    code, status, exit_status = "UNSUPPORTED_MEDIA_TYPE", 415, 2


class PreconditionRequired(HubError):
    code, status, exit_status = "PRECONDITION_REQUIRED", 428, 2


class Problem(HubError):
    """A problem that the engine has written already."""

    def __init__(self, status: int, members: dict[str, Any]) -> None:
        super().__init__(str(members.get("detail", "")), field=members.get("field"), code=str(members.get("code")))
        self.status = status
        self.members = {key: value for key, value in members.items() if key not in {"code", "detail", "field"}}


def response_of(error: Exception) -> Response:
    """The answer to an error of ours, of the framework's, or of nobody's."""
    if isinstance(error, HubError):
        return _of_ours(error)
    if isinstance(error, HTTPException):
        return _of_framework(error)
    if database_is_away(error):
        logger.error("request failed", extra={"code": "DATABASE_AWAY", "reason": str(error)[:200]})
        return _of_ours(Unavailable(DATABASE_AWAY, code="DATABASE_AWAY"))
    # The exception itself goes to the log alone: its text may hold what a request held.
    logger.error("request failed", extra={"request_id": g.get("request_id", "")}, exc_info=error)
    return _document(500, "HUB_ERROR", "something went wrong here; the hub's log has it under the request id")


def _of_ours(error: HubError) -> Response:
    if error.status >= 500:
        logger.error("request failed", extra={"code": error.code, "request_id": g.get("request_id", "")})
    response = _document(
        error.status, error.code, error.detail, field=error.field, members=getattr(error, "members", {})
    )
    if isinstance(error, TooMany):
        response.headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    if error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = "5"
    if error.status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="manyarm"'
    return response


def _of_framework(error: HTTPException) -> Response:
    status = error.code or 500
    response = _document(status, _CODES.get(status, "HUB_ERROR"), _sentence(error, status))
    for name, value in error.get_headers():
        # What the framework knows and a client needs: Allow, Retry-After, WWW-Authenticate.
        if name.lower() not in {"content-type", "content-length"}:
            response.headers[name] = value
    return response


def _sentence(error: HTTPException, status: int) -> str:
    if isinstance(error, MethodNotAllowed):
        return f"{request.method} is not one of {', '.join(sorted(error.valid_methods or []))}"
    return {404: "there is nothing at this address", 413: "the body is larger than allowed here"}.get(
        status, HTTPStatus(status).phrase
    )


def _document(
    status: int, code: str, detail: str, *, field: str | None = None, members: dict[str, Any] | None = None
) -> Response:
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "request_id": g.get("request_id", ""),
    }
    if field:
        document["field"] = field
    return Response(json.dumps(document | (members or {})), status, content_type=MEDIA_TYPE)

"""Forms: where a change may come from, the token it must carry, and what a page says after it.

An unsafe request with a session needs both: a browser that says "from this site" (Sec-Fetch-Site, else Origin), and the
token of the session. The door, where there is no session yet, has a token of its own in a cookie.
"""

import hmac
import secrets
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from flask import Flask, Request, Response, redirect, request
from flask.typing import ResponseReturnValue

from hub.access import sessions
from hub.api.callers import SESSION_COOKIE
from hub.errors import NotAllowed
from portal.parts import portal_parts

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
DOOR_COOKIE = "__Host-manyarm-door"
NOTICE_COOKIE = "__Host-manyarm-notice"
FIELD = "csrf_token"
HEADER = "X-CSRF-Token"
_NOTICE_LENGTH = 600
_DOOR_AGE_S = 3600
_KINDS = ("good", "bad", "wait")


def install(app: Flask) -> None:
    app.jinja_env.globals["csrf_token"] = token_for_page
    app.before_request(_check_door)
    app.after_request(_clear_notice)


def check(asked: Request, session_token: str) -> None:
    """Refuse an unsafe request that this site's own page did not make.

    Raises:
        NotAllowed: it comes from elsewhere, or without the token of its session.
    """
    if asked.method in SAFE_METHODS:
        return
    _check_origin(asked)
    given = asked.headers.get(HEADER) or _field(asked)
    if not _equal(given, sessions.csrf_token(session_token)):
        raise NotAllowed("this form is not of your session: load the page again", code="CSRF")


def token_for_page() -> str:
    """What the forms of this page carry."""
    session_token = request.cookies.get(SESSION_COOKIE)
    if session_token:
        return sessions.csrf_token(session_token)
    return _door_token()


def with_door_token(response: Response) -> Response:
    """The page with the cookie that its form's token must match."""
    response.set_cookie(
        DOOR_COOKIE, _door_token(), max_age=_DOOR_AGE_S, path="/", secure=True, httponly=True, samesite="Lax"
    )
    return response


def came_from() -> str:
    """The path of the page that sent this form, or the start."""
    referrer = urlsplit(request.headers.get("Referer", ""))
    return request.form.get("back") or referrer.path or "/"


def said(target: str, words: str, kind: str = "good") -> ResponseReturnValue:
    """Go to a page and have it say one sentence, once."""
    response = redirect(target, 303)
    value = quote(f"{kind} {words[:_NOTICE_LENGTH]}")
    response.set_cookie(NOTICE_COOKIE, value, max_age=60, path="/", secure=True, httponly=True, samesite="Lax")
    return response


def notices() -> list[tuple[str, str]]:
    kind, _, words = unquote(request.cookies.get(NOTICE_COOKIE, "")).partition(" ")
    return [(kind, words)] if words and kind in _KINDS else []


def _check_door() -> None:
    """Without a session a form is the door's: its token stands in a cookie, so nobody signs you in as himself."""
    if request.method in SAFE_METHODS or request.path.startswith("/api/") or SESSION_COOKIE in request.cookies:
        return
    _check_origin(request)
    if not _equal(_field(request), request.cookies.get(DOOR_COOKIE, "")):
        raise NotAllowed("this form is too old: load the page again", code="CSRF")


def _check_origin(asked: Request) -> None:
    site = asked.headers.get("Sec-Fetch-Site")
    if site is not None:
        right = site in {"same-origin", "none"}
    else:
        right = asked.headers.get("Origin") == portal_parts().origin
    if not right:
        raise NotAllowed("this request comes from another site", code="CSRF")


def _field(asked: Request) -> str:
    # Reading the form of a large upload would swallow it: such a request carries the header.
    if asked.mimetype not in {"application/x-www-form-urlencoded", "multipart/form-data"}:
        return ""
    return asked.form.get(FIELD, "")


def _equal(given: str, expected: str) -> bool:
    return bool(expected) and hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def _door_token() -> str:
    known = request.cookies.get(DOOR_COOKIE, "")
    if len(known) == _DOOR_LENGTH:
        return known
    made: Any = request.environ.setdefault("manyarm.door", secrets.token_urlsafe(32))
    return str(made)


def _clear_notice(response: Response) -> Response:
    shown = request.cookies.get(NOTICE_COOKIE) and response.mimetype == "text/html" and response.status_code < 300
    if shown and request.method == "GET":
        response.delete_cookie(NOTICE_COOKIE, path="/", secure=True, httponly=True, samesite="Lax")
    return response


_DOOR_LENGTH = len(secrets.token_urlsafe(32))

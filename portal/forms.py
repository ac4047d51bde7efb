"""Forms: where a change may come from, the token it must carry, and what a page says after it.

An unsafe request with a session needs both: a browser that says "from this site" (Sec-Fetch-Site, else Origin), and the
token of the session, in a field or a header. The door, where there is no session yet, has a token of its own in a
cookie, so that nobody signs you in as himself.
"""

import hmac
import re
import secrets
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from flask import Flask, Request, Response, redirect, request
from flask.typing import ResponseReturnValue

from hub.access import sessions
from hub.api.callers import SESSION_COOKIE
from hub.api.guard import API_PREFIXES
from hub.errors import NotAllowed
from portal.first_field import first_field
from portal.parts import portal_parts

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
DOOR_COOKIE = "__Host-manyarm-door"
NOTICE_COOKIE = "__Host-manyarm-notice"
FIELD = "csrf_token"
HEADER = "X-CSRF-Token"
# What a person types fits in; only an upload is larger, and says so by its type.
FORM_BYTES = 64 * 1024

_NOTICE_LENGTH = 600
_DOOR_AGE_S = 3600
_DOOR_LENGTH = len(secrets.token_urlsafe(32))
_KINDS = ("good", "bad", "wait")
_ONCE = re.compile(r"[0-9a-f]{32}")
_CONTROLS = re.compile(r"[\x00-\x20\x7f\\]")


def install(app: Flask) -> None:
    app.jinja_env.globals["csrf_token"] = token_for_page
    app.jinja_env.globals["once"] = lambda: secrets.token_hex(16)
    app.before_request(_check_page_form)
    app.after_request(_clear_notice)


def check_header(asked: Request, session_token: str) -> None:
    """Refuse an unsafe request to the API that this site's own page did not make; its body is not looked at.

    Raises:
        NotAllowed: it comes from elsewhere, or without the token of its session.
    """
    if asked.method not in SAFE_METHODS:
        _check_origin(asked)
        _check_token(asked.headers.get(HEADER, ""), sessions.csrf_token(session_token))


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
    """The page to go back to: this one, or the one that sent this form."""
    if request.method == "GET":
        return safe_next(request.full_path)
    return safe_next(request.form.get("back", "/")) if is_plain_form(request) else "/"


def safe_next(wanted: str) -> str:
    """Where to go after signing in: a path of ours, or the start."""
    for text in (wanted, unquote(wanted)):
        if not text.startswith("/") or text.startswith(("//", "/\\")) or _CONTROLS.search(text.replace(" ", "")):
            return "/"
    parts = urlsplit(wanted)
    return "/" if parts.scheme or parts.netloc or " " in wanted else wanted.removesuffix("?")


def once() -> str:
    """The number of the form, so that a button pressed twice asks once; "" where it has none."""
    found = request.form.get("once", "") if is_plain_form(request) else ""
    return found if _ONCE.fullmatch(found) else ""


def is_plain_form(asked: Request) -> bool:
    """Reading any other body as a form would swallow an upload."""
    return asked.mimetype == "application/x-www-form-urlencoded"


def said(target: str, words: str, kind: str = "good") -> ResponseReturnValue:
    """Go to a page and have it say one sentence, once."""
    response = redirect(target, 303)
    value = quote(f"{kind} {words[:_NOTICE_LENGTH]}")
    response.set_cookie(NOTICE_COOKIE, value, max_age=60, path="/", secure=True, httponly=True, samesite="Lax")
    return response


def notices() -> list[tuple[str, str]]:
    kind, _, words = unquote(request.cookies.get(NOTICE_COOKIE, "")).partition(" ")
    return [(kind, words)] if words and kind in _KINDS else []


def _check_page_form() -> None:
    """Every page's form, before any view: with a session's token, or at the door with the door's."""
    if request.method in SAFE_METHODS or request.path.startswith(API_PREFIXES):
        return
    if request.mimetype != "multipart/form-data":
        request.max_content_length = FORM_BYTES
        request.max_form_memory_size = FORM_BYTES
    _check_origin(request)
    session_token = request.cookies.get(SESSION_COOKIE)
    expected = sessions.csrf_token(session_token) if session_token else request.cookies.get(DOOR_COOKIE, "")
    _check_token(_given(request), expected)


def _check_origin(asked: Request) -> None:
    site = asked.headers.get("Sec-Fetch-Site")
    if site is not None:
        right = site in {"same-origin", "none"}
    else:
        right = asked.headers.get("Origin") == portal_parts().origin
    if not right:
        raise NotAllowed("this request comes from another site", code="CSRF")


def _given(asked: Request) -> str:
    if asked.mimetype == "multipart/form-data":
        return first_field(asked, FIELD)
    fields = asked.form.getlist(FIELD) if is_plain_form(asked) else []
    return fields[0] if len(fields) == 1 else ""


def _check_token(given: str, expected: str) -> None:
    if not expected or not hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode("utf-8", "replace")):
        raise NotAllowed("this form is too old, or not of your session: load its page again", code="CSRF")


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

"""Signing in and out: flask-login over a session that is a row; the cookie is a random number and nothing else."""

import time
from typing import Any

from flask import Blueprint, Flask, Request, Response, g, redirect, render_template, request, url_for
from flask.sessions import SessionInterface, SessionMixin
from flask.typing import ResponseReturnValue
from flask_login import LoginManager, UserMixin, current_user
from werkzeug.wrappers import Response as BaseResponse

from hub.access import sessions
from hub.access.caller import Caller
from hub.access.session_caller import caller_of_session
from hub.access.signing_in import Visitor, prove, sign_in
from hub.api.callers import SESSION_COOKIE
from hub.api.declared import own, public
from hub.errors import HubError, Invalid, NotSignedIn, StepUpNeeded, TooMany
from hub.queries.dashboard import nobody_yet
from hub.storage.database import connection, write_tx
from portal import forms
from portal.parts import portal_parts

pages = Blueprint("login", __name__)

COOKIE_AGE_S = sessions.LIFETIME_MS // 1000


class NoSession(SessionInterface):
    """Flask's signed cookie is not used for anything."""

    def open_session(self, app: Flask, request: Request) -> SessionMixin | None:  # noqa: ARG002  Flask's signature.
        return _Nothing()

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """There is nothing to save."""


class _Nothing(dict[str, Any], SessionMixin):
    """What flask-login and flash would write, for the length of one request."""


class SignedIn(UserMixin):  # type: ignore[misc]  # flask-login ships no types
    """A person for flask-login: the caller of this request."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.id = caller.user_id


def install(app: Flask) -> None:
    manager = LoginManager()
    manager.session_protection = None  # The session is a row; there is no second copy to protect.
    manager.request_loader(_load)
    manager.user_loader(lambda _user_id: None)
    manager.init_app(app)
    app.register_blueprint(pages)


def session_caller(asked: Request) -> Caller | None:
    """The caller behind the session cookie, for the API: it takes the token of a changing request from a header.

    Raises:
        NotSignedIn: the session is over. NotAllowed: another site made the request.
    """
    caller = _caller(asked)
    if caller is not None:
        forms.check_header(asked, asked.cookies[SESSION_COOKIE])
    return caller


def present_session_caller() -> Caller | None:
    """The caller of a page, through flask-login."""
    return current_user.caller if current_user.is_authenticated else None


def present_token() -> str:
    """The value of this request's session cookie, or ""."""
    return request.cookies.get(SESSION_COOKIE, "")


def has_proved() -> bool:
    """Whether the password was given lately enough for what hands out trust or rights."""
    try:
        g.caller.require_step_up(_now_ms())
    except StepUpNeeded:
        return False
    return True


@pages.get("/login")
@public(reason="the door")
def show() -> ResponseReturnValue:
    with connection():
        if nobody_yet():
            return redirect(url_for("setup.show"))
    return _door()


@pages.post("/login")
@public(reason="the door")
def enter() -> ResponseReturnValue:
    name = request.form.get("name", "")
    parts = portal_parts()
    try:
        with connection():
            signed_in = sign_in(
                parts.api.passwords, parts.api.seals, name, request.form.get("password", ""), visitor(), _now_ms()
            )
            _end_present_session()
    except (NotSignedIn, TooMany, Invalid) as error:
        return _door(error, name)
    wanted = forms.safe_next(request.form.get("next", "/"))
    target = url_for("account.new_password") if signed_in.user.must_change else wanted
    return with_session(redirect(target, 303), signed_in.token.reveal())


@pages.post("/logout")
@own
def leave() -> ResponseReturnValue:
    with connection():
        _end_present_session()
    response = redirect(url_for("login.show"), 303)
    response.delete_cookie(SESSION_COOKIE, path="/", secure=True, httponly=True, samesite="Lax")
    response.headers["Clear-Site-Data"] = '"cache", "storage"'
    return response


@pages.get("/prove")
@own
def prove_again() -> ResponseReturnValue:
    return _prove_page()


@pages.post("/prove")
@own
def proved() -> ResponseReturnValue:
    """The password once more, for what hands out trust or rights; the session gets a new id."""
    parts = portal_parts()
    caller = current_user.caller
    try:
        with connection():
            prove(
                parts.api.passwords,
                parts.api.seals,
                caller.name,
                request.form.get("password", ""),
                visitor(),
                _now_ms(),
            )
            with write_tx():
                fresh = sessions.replace_session(present_token(), _now_ms(), proved=True)
    except (NotSignedIn, TooMany) as error:
        return _prove_page(error)
    return with_session(redirect(forms.safe_next(request.form.get("next", "/")), 303), fresh.reveal())


def with_session(response: BaseResponse, token: str) -> BaseResponse:
    """The response with the session's cookie."""
    response.set_cookie(
        SESSION_COOKIE, token, max_age=COOKIE_AGE_S, path="/", secure=True, httponly=True, samesite="Lax"
    )
    return response


def visitor() -> Visitor:
    """Where this request comes from: the peer, or what a declared proxy says of it."""
    peer = request.remote_addr or ""
    forwarded = request.headers.get("X-Forwarded-For", "")
    if forwarded and peer in portal_parts().trusted_proxies:
        peer = forwarded.rsplit(",", 1)[-1].strip()[:64]
    return Visitor(peer, request.headers.get("User-Agent", ""))


def _load(asked: Request) -> SignedIn | None:
    try:
        caller = _caller(asked)
    except NotSignedIn:
        return None
    return SignedIn(caller) if caller is not None else None


def _caller(asked: Request) -> Caller | None:
    token = asked.cookies.get(SESSION_COOKIE)
    if token is None:
        return None
    with connection():
        return caller_of_session(token, _now_ms(), portal_parts().api.seals)


def _end_present_session() -> None:
    """A session that was there before is not taken over: whoever planted it has nothing of it."""
    if present_token():
        with write_tx():
            sessions.end_session(sessions.session_id(present_token()))


def _door(error: HubError | None = None, name: str = "") -> ResponseReturnValue:
    wanted = forms.safe_next(request.values.get("next", "/"))
    page = render_template("login.html", error=error, name=name, next=wanted)
    return forms.with_door_token(_answer(page, error))


def _prove_page(error: HubError | None = None) -> ResponseReturnValue:
    wanted = forms.safe_next(request.values.get("next", "/"))
    page = render_template("prove.html", error=error, next=wanted, name=g.caller.name)
    return _answer(page, error)


def _answer(page: str, error: HubError | None) -> Response:
    response = Response(page, error.status if error else 200, content_type="text/html; charset=utf-8")
    if isinstance(error, TooMany):
        response.headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    return response


def _now_ms() -> int:
    return time.time_ns() // 1_000_000

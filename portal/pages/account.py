"""One's own account: sessions, API keys, password."""

import time

from flask import Blueprint, g, render_template, request, url_for
from flask.typing import ResponseReturnValue

from hub.access.passwords import check_new_password
from hub.api.declared import own
from hub.errors import HubError
from hub.queries import access
from hub.queries.listing import Slice
from hub.storage.database import connection
from portal.asking import Refused, StillAsked, change
from portal.forms import said
from portal.parts import portal_parts

pages = Blueprint("account", __name__, url_prefix="/account")

_KEY_DAYS = 90


@pages.get("")
@own
def show() -> ResponseReturnValue:
    return _page()


@pages.post("/keys")
@own
def make_key() -> ResponseReturnValue:
    """The key is shown on the answer of this form and nowhere else again."""
    try:
        made = change("api-key.create", {"name": request.form.get("name", ""), "days": _KEY_DAYS})
    except (Refused, StillAsked) as error:
        return said(url_for("account.show"), error.detail, "bad")
    return _page(made)


@pages.post("/keys/<key>/revoke")
@own
def revoke_key(key: str) -> ResponseReturnValue:
    return _ask("api-key.revoke", {"api_key": key}, "The key opens nothing any more.")


@pages.post("/sessions/<session>/end")
@own
def end_session(session: str) -> ResponseReturnValue:
    return _ask("session.revoke", {"session": session}, "That session is over.")


@pages.post("/password")
@own
def set_password() -> ResponseReturnValue:
    if request.form.get("password") != request.form.get("again"):
        return said(url_for("account.show"), "The two passwords are not the same; nothing was changed.", "bad")
    password = request.form.get("password", "")
    try:
        check_new_password(password, g.caller.name)
    except HubError as error:
        return said(url_for("account.show"), error.detail, "bad")
    wanted = {"user": g.caller.user_id, "password_hash": portal_parts().api.passwords.hash(password)}
    return _ask("user.password", wanted, "The password is changed; every other session is over.")


def _ask(operation: str, wanted: dict[str, str], words: str) -> ResponseReturnValue:
    try:
        change(operation, wanted)
    except (Refused, StillAsked) as error:
        return said(url_for("account.show"), error.detail, "wait" if isinstance(error, StillAsked) else "bad")
    return said(url_for("account.show"), words)


def _page(made: dict[str, object] | None = None) -> ResponseReturnValue:
    with connection():
        return render_template(
            "account.html",
            made=made,
            keys=access.api_keys(g.caller, Slice(limit=1000), g.caller.name),
            sessions=access.own_sessions(g.caller, time.time_ns() // 1_000_000),
        )

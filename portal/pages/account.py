"""One's own account: API keys, sessions, password."""

import time

from flask import Blueprint, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from hub.access.passwords import check_new_password
from hub.api.declared import own
from hub.errors import HubError, StepUpNeeded
from hub.queries import access
from hub.queries.listing import Slice
from hub.storage.database import connection
from portal.asking import Refused, StillAsked, change
from portal.forms import said
from portal.login import has_proved
from portal.parts import portal_parts

pages = Blueprint("account", __name__, url_prefix="/account")

_KEY_DAYS = (7, 30, 90, 365)


@pages.get("")
@own
def show() -> ResponseReturnValue:
    return _page()


@pages.post("/keys")
@own
def make_key() -> ResponseReturnValue:
    """The key is shown on the answer of this form and nowhere else again."""
    name, days = request.form.get("name", ""), request.form.get("days", "")
    if days not in map(str, _KEY_DAYS):
        return said(url_for("account.show"), "A key lives for one of the times offered.", "bad")
    try:
        made = change("api-key.create", {"name": name, "days": int(days)})
    except StepUpNeeded:
        return redirect(url_for("login.prove_again", next=url_for("account.show", key=name, days=days)), 303)
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


@pages.get("/password")
@own
def new_password() -> ResponseReturnValue:
    # Asked first: a new password typed twice must not be lost on the way to the old one.
    if not has_proved():
        raise StepUpNeeded("a new password takes the old one")
    return _password_page()


@pages.post("/password")
@own
def set_password() -> ResponseReturnValue:
    password = request.form.get("password", "")
    try:
        if password != request.form.get("again"):
            raise HubError("the two passwords are not the same; nothing was changed")
        check_new_password(password, g.caller.name)
        hashed = portal_parts().api.passwords.hash(password)
        change("user.password", {"user": g.caller.user_id, "password_hash": hashed})
    except StepUpNeeded:
        raise
    except HubError as error:
        return _password_page(error)
    return redirect(url_for("login.show", next=url_for("account.show")), 303)


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
            days=_KEY_DAYS,
            filled=request.args,
        )


def _password_page(error: HubError | None = None) -> ResponseReturnValue:
    return render_template("password.html", error=error, name=g.caller.name), error.status if error else 200

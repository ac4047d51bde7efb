"""The first administrator: whoever has the setup code that `manyarm init` printed chooses a name and a password."""

import time

from flask import Blueprint, Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from hub.access import rate_limits
from hub.access.passwords import check_new_password
from hub.api.declared import public
from hub.errors import HubError
from hub.operations.setting_up import CREATE_FIRST, stranger
from hub.storage.database import connection
from portal import forms, login
from portal.asking import change
from portal.parts import portal_parts

pages = Blueprint("setup", __name__, url_prefix="/setup")


@pages.get("")
@public(reason="before there is anybody to sign in; the one-time code decides")
def show() -> ResponseReturnValue:
    return _page()


@pages.post("")
@public(reason="before there is anybody to sign in; the one-time code decides")
def make() -> ResponseReturnValue:
    form = request.form
    name, password = form.get("name", ""), form.get("password", "")
    try:
        if password != form.get("again"):
            raise HubError("the two passwords are not the same")
        check_new_password(password, name)
        with connection():
            rate_limits.take(f"setup:{login.visitor().address}", rate_limits.BY_ADDRESS, time.time_ns() // 1_000_000)
        hashed = portal_parts().api.passwords.hash(password)
        change(CREATE_FIRST, {"code": form.get("code", ""), "name": name, "password_hash": hashed}, by=stranger())
    except HubError as error:
        return _page(error, name, form.get("code", ""))
    return redirect(url_for("login.show"), 303)


def _page(error: HubError | None = None, name: str = "", code: str = "") -> ResponseReturnValue:
    page = render_template("setup.html", error=error, name=name, code=code or request.args.get("code", ""))
    status = 400 if error is not None else 200
    return forms.with_door_token(Response(page, status, content_type="text/html; charset=utf-8"))

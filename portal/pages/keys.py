"""The hub's own keys: how each stands, and a new one in the place of an old one."""

from flask import Blueprint, render_template, request, url_for
from flask.typing import ResponseReturnValue

from hub.api.declared import permission
from hub.permissions import Permission
from hub.queries import keys as queries
from hub.storage.database import connection
from portal.asking import Refused, StillAsked, change
from portal.forms import said

pages = Blueprint("keys", __name__, url_prefix="/keys")

NAMES = ("command", "box", "portal", "rows", "release", "audit", "root")


@pages.get("")
@permission(Permission.KEY_EDIT)
def index() -> ResponseReturnValue:
    with connection():
        return render_template("keys.html", found=queries.keys(), names=NAMES)


@pages.post("/rotate")
@permission(Permission.KEY_EDIT)
def rotate() -> ResponseReturnValue:
    form, back = request.form, url_for("keys.index")
    wanted = {"key": form.get("key", ""), "revoke": bool(form.get("revoke")), "reason": form.get("reason", "")}
    try:
        done = change("key.rotate", wanted)
    except (Refused, StillAsked) as error:
        return said(back, error.detail, "wait" if isinstance(error, StillAsked) else "bad")
    notice = str(done["notice"])
    return said(back, f"The new key waits: {notice}.", "wait") if notice else said(back, "The new key is in use.")

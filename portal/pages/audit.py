"""The audit log: who did what, when, to what, with which outcome."""

from flask import Blueprint, g, render_template, request
from flask.typing import ResponseReturnValue

from hub.api.declared import permission
from hub.permissions import Permission
from hub.queries import events
from hub.queries.listing import Slice
from hub.storage.database import connection

pages = Blueprint("audit", __name__, url_prefix="/audit")


@pages.get("")
@permission(Permission.EVENT_VIEW)
def index() -> ResponseReturnValue:
    action = request.args.get("action", "").strip()
    with connection():
        page = events.events(g.caller, Slice(limit=100, after=request.args.get("after", "")), action=action)
        return render_template("audit.html", page=page, action=action)

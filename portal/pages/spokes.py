"""Every spoke and relay, with whole thumbprints: who is trusted, where relays dial it, and what they say of it."""

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from hub.api.declared import permission
from hub.permissions import Permission
from hub.queries import infrastructure
from hub.queries.listing import Slice
from hub.storage.database import connection

pages = Blueprint("spokes", __name__, url_prefix="/spokes")


@pages.get("")
@permission(Permission.SPOKE_VIEW)
def index() -> ResponseReturnValue:
    with connection():
        page = infrastructure.all_spokes(Slice(limit=200, after=request.args.get("after", "")))
        return render_template("spokes.html", page=page)

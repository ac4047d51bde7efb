"""The first page: what is where. Projects by environments, each cell the newest deployment and the way to the next."""

from flask import Blueprint, g, render_template
from flask.typing import ResponseReturnValue

from hub.api.declared import permission
from hub.permissions import Permission
from hub.queries.dashboard import matrix
from hub.storage.database import connection

pages = Blueprint("dashboard", __name__)


@pages.get("/")
@permission(Permission.PROJECT_VIEW)
def show() -> ResponseReturnValue:
    with connection():
        return render_template("dashboard.html", matrix=matrix(g.caller))

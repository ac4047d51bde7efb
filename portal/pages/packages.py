"""Packages: what the feed has, and how more of it comes in."""

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from hub.api.declared import permission
from hub.permissions import Permission
from hub.queries import packages
from hub.queries.listing import Slice
from hub.storage.database import connection

pages = Blueprint("packages", __name__, url_prefix="/packages")


@pages.get("")
@permission(Permission.PACKAGE_VIEW)
def index() -> ResponseReturnValue:
    wanted = request.args.get("id", "")
    with connection():
        part = Slice(limit=100, after=request.args.get("after", ""))
        versions = packages.versions(wanted, part) if wanted else None
        page = None if wanted else packages.packages(part)
        return render_template("packages.html", page=page, versions=versions, wanted=wanted)

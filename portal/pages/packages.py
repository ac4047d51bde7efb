"""Packages: what the feed has, how more of it comes in, and what goes."""

import json

from flask import Blueprint, g, render_template, request, url_for
from flask.typing import ResponseReturnValue

from hub.api import uploads
from hub.api.declared import permission
from hub.api.query_string import Query
from hub.api.route import Call
from hub.errors import HubError
from hub.permissions import Permission
from hub.queries import packages
from hub.queries.listing import Slice
from hub.storage.database import connection
from portal.asking import Refused, StillAsked, change
from portal.forms import said
from portal.parts import portal_parts

pages = Blueprint("packages", __name__, url_prefix="/packages")


@pages.get("")
@permission(Permission.PACKAGE_VIEW)
def index() -> ResponseReturnValue:
    wanted, q = request.args.get("id", ""), request.args.get("q", "")
    part = Slice(limit=100, after=request.args.get("after", ""))
    with connection():
        versions = packages.versions(wanted, part) if wanted else None
        page = None if wanted else packages.packages(part, q)
        return render_template("packages.html", page=page, versions=versions, wanted=wanted, q=q)


@pages.post("/upload")
@permission(Permission.PACKAGE_PUSH)
def upload() -> ResponseReturnValue:
    """The form as browsers send it without a script; the file streams into the chunk store."""
    try:
        answer = uploads.take(Call(g.caller, portal_parts().api, Query()), "")
    except HubError as error:
        return said(url_for("packages.index"), error.detail, "bad")
    pushed = json.loads(answer.get_data())
    if answer.status_code == StillAsked.status:
        return said(url_for("packages.index"), "The engine is away; the package is looked at when it is back.", "wait")
    return said(url_for("packages.index", id=pushed["id"]), f"{pushed['id']} {pushed['version']} is here.")


@pages.post("/<package>/<version>/delete")
@permission(Permission.PACKAGE_DELETE)
def delete(package: str, version: str) -> ResponseReturnValue:
    back = url_for("packages.index", id=package)
    try:
        change("package.delete", {"package": package, "version": version})
    except (Refused, StillAsked) as error:
        return said(back, error.detail, "wait" if isinstance(error, StillAsked) else "bad")
    return said(url_for("packages.index"), f"{package} {version} is deleted.")

"""Projects: the list, and one project with its releases by environments, its process and its variables."""

from flask import Blueprint, g, render_template, request, url_for
from flask.typing import ResponseReturnValue

from hub.api.declared import permission
from hub.permissions import Permission
from hub.queries import environments, projects, releases, variables
from hub.queries.dashboard import matrix
from hub.queries.listing import Slice
from hub.storage.database import connection
from portal.asking import Refused, change
from portal.forms import said

pages = Blueprint("projects", __name__, url_prefix="/projects")


@pages.get("")
@permission(Permission.PROJECT_VIEW)
def index() -> ResponseReturnValue:
    with connection():
        found = projects.all_projects(g.caller, _slice(), request.args.get("q", ""))
        return render_template("projects.html", page=found, q=request.args.get("q", ""))


@pages.get("/<project>")
@permission(Permission.PROJECT_VIEW)
def show(project: str) -> ResponseReturnValue:
    with connection():
        found = projects.project(g.caller, project)
        listed = releases.all_releases(g.caller, _slice(20), found.id)
        readable = g.caller.may(Permission.VARIABLE_VIEW, found.id)
        return render_template(
            "project.html",
            project=found,
            steps=projects.process(g.caller, found.id).steps,
            releases=listed,
            progress={row.id: releases.progression(g.caller, row.id) for row in listed.items},
            matrix_row=next((row for row in matrix(g.caller).rows if row.slug == found.slug), None),
            environments=[row.name for row in environments.environments(Slice(limit=1000)).items],
            variables=variables.of_project(g.caller, found.id, Slice(limit=1000)).items if readable else [],
        )


@pages.post("/<project>/releases")
@permission(Permission.RELEASE_CREATE)
def freeze(project: str) -> ResponseReturnValue:
    version = request.form.get("version", "").strip()
    wanted = {"project": project, "notes": request.form.get("notes", "")} | ({"version": version} if version else {})
    try:
        made = change("release.create", wanted)
    except Refused as error:
        return said(url_for("projects.show", project=project), error.detail, "bad")
    return said(
        url_for("releases.show", project=project, version=made["version"]), f"Release {made['version']} is made."
    )


def _slice(limit: int = 100) -> Slice:
    return Slice(limit=limit, after=request.args.get("after", ""))

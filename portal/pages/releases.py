"""One release: what is in it, where it is, where it may go; and the page before a deployment, which shows its plan."""

from flask import Blueprint, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from hub.api.declared import permission
from hub.errors import HubError
from hub.operations.previewing import deployment_plan
from hub.permissions import Permission
from hub.queries import releases
from hub.storage.database import connection
from portal.asking import Refused, StillAsked, change
from portal.forms import said
from portal.parts import portal_parts

pages = Blueprint("releases", __name__, url_prefix="/projects/<project>/releases")


@pages.get("/<version>")
@permission(Permission.PROJECT_VIEW)
def show(project: str, version: str) -> ResponseReturnValue:
    with connection():
        found = releases.release(g.caller, version, project)
        progress = releases.progression(g.caller, version, project)
        return render_template("release.html", project=project, release=found, progress=progress.environments)


@pages.get("/<version>/deploy/<environment>")
@permission(Permission.DEPLOYMENT_CREATE)
def plan(project: str, version: str, environment: str) -> ResponseReturnValue:
    """What would happen, before the button: every target, step, package and variable, or why it cannot."""
    with connection():
        found = releases.release(g.caller, version, project)
        preview, refusal = None, ""
        try:
            preview = deployment_plan(portal_parts().api, g.caller, _wanted(project, version, environment))
        except HubError as error:
            refusal = error.detail
        return render_template(
            "deploy.html", project=project, release=found, environment=environment, plan=preview, refusal=refusal
        )


@pages.post("/<version>/deploy/<environment>")
@permission(Permission.DEPLOYMENT_CREATE)
def deploy(project: str, version: str, environment: str) -> ResponseReturnValue:
    try:
        made = change("deployment.create", _wanted(project, version, environment))
    except (Refused, StillAsked) as error:
        back = url_for("releases.show", project=project, version=version)
        return said(back, error.detail, "wait" if isinstance(error, StillAsked) else "bad")
    return redirect(url_for("tasks.show", task=made["task"]), 303)


def _wanted(project: str, version: str, environment: str) -> dict[str, object]:
    wanted: dict[str, object] = {"project": project, "release": version, "environment": environment}
    if request.form.getlist("skip"):
        wanted["skip_steps"] = request.form.getlist("skip")
    if request.form.getlist("only"):
        wanted["only_targets"] = request.form.getlist("only")
    return wanted

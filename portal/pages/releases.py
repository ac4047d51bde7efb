"""One release: what is in it, where it is, where it may go; and the pages before a deployment and before a way back.

Both show the whole plan. From the first, what would change in files can be asked for too.
"""

from collections.abc import Callable
from typing import Any

from flask import Blueprint, g, render_template, request, url_for
from flask.typing import ResponseReturnValue

from hub.api.declared import permission
from hub.errors import HubError
from hub.operations.planning import deployment_plan, rollback_plan
from hub.permissions import Permission
from hub.queries import releases
from hub.storage.database import connection
from portal.asking import Refused, StillAsked, change
from portal.forms import said
from portal.pages.tasks import to_task
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
    return _plan_page(project, version, environment, deployment_plan)


@pages.post("/<version>/deploy/<environment>")
@permission(Permission.DEPLOYMENT_CREATE)
def deploy(project: str, version: str, environment: str) -> ResponseReturnValue:
    return _ask("deployment.create", project, version, environment)


@pages.post("/<version>/preview/<environment>")
@permission(Permission.DEPLOYMENT_CREATE)
def preview(project: str, version: str, environment: str) -> ResponseReturnValue:
    """On to a task whose log says, for each target, what would change in files."""
    return _ask("deployment.preview", project, version, environment)


@pages.get("/<version>/rollback/<environment>")
@permission(Permission.DEPLOYMENT_CREATE)
def way_back(project: str, version: str, environment: str) -> ResponseReturnValue:
    """What going back would do, before the button; or why it cannot."""
    return _plan_page(project, version, environment, rollback_plan)


@pages.post("/<version>/rollback/<environment>")
@permission(Permission.DEPLOYMENT_CREATE)
def roll_back(project: str, version: str, environment: str) -> ResponseReturnValue:
    return _ask("deployment.rollback", project, version, environment)


def _plan_page(
    project: str, version: str, environment: str, make: Callable[..., dict[str, Any]]
) -> ResponseReturnValue:
    with connection():
        found = releases.release(g.caller, version, project)
        made, refusal = None, ""
        try:
            made = make(portal_parts().api, g.caller, _wanted(project, version, environment))
        except HubError as error:
            refusal = error.detail
        return render_template(
            "deploy.html",
            project=project,
            release=found,
            environment=environment,
            plan=made,
            names=_target_names(made),
            refusal=refusal,
            is_rollback=make is rollback_plan,
        )


def _ask(operation: str, project: str, version: str, environment: str) -> ResponseReturnValue:
    try:
        made = change(operation, _wanted(project, version, environment))
    except (Refused, StillAsked) as error:
        back = url_for("releases.show", project=project, version=version)
        return said(back, error.detail, "wait" if isinstance(error, StillAsked) else "bad")
    return to_task(made)


def _target_names(plan: dict[str, Any] | None) -> list[str]:
    return sorted({target["name"] for step in plan["steps"] for target in step["targets"]}) if plan else []


def _wanted(project: str, version: str, environment: str) -> dict[str, object]:
    wanted: dict[str, object] = {"project": project, "release": version, "environment": environment}
    if request.method == "POST":
        wanted["skip_steps"] = request.form.getlist("skip")
        # The boxes start ticked: what was unticked is left out, and all of them together are no choice.
        chosen, offered = request.form.getlist("only"), request.form.getlist("offered")
        if set(chosen) != set(offered):
            wanted["only_targets"] = chosen
    return wanted

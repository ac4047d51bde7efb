"""Targets and the spokes that serve them: health with its reason, whole thumbprints, approval, join codes."""

from flask import Blueprint, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from hub.api.declared import permission
from hub.errors import StepUpNeeded
from hub.permissions import Permission
from hub.queries import environments, infrastructure, machine_policies
from hub.queries.listing import Slice
from hub.storage.database import connection
from portal.asking import Refused, StillAsked, change
from portal.forms import said
from portal.login import has_proved
from portal.pages.tasks import to_task

pages = Blueprint("targets", __name__, url_prefix="/targets")

_CODES_SHOWN = 20


@pages.get("")
@permission(Permission.TARGET_VIEW)
def index() -> ResponseReturnValue:
    with connection():
        page = infrastructure.targets(
            Slice(limit=200, after=request.args.get("after", "")), q=request.args.get("q", "")
        )
        sees_spokes = g.caller.may(Permission.SPOKE_VIEW)
        pending = infrastructure.all_spokes(Slice(limit=100), state="pending").items if sees_spokes else []
        return render_template("targets.html", page=page, pending=pending, q=request.args.get("q", ""))


@pages.get("/<target>")
@permission(Permission.TARGET_VIEW)
def show(target: str) -> ResponseReturnValue:
    with connection():
        found = infrastructure.target(target)
        sees = found.spoke is not None and g.caller.may(Permission.SPOKE_VIEW)
        spoke = infrastructure.spoke(found.spoke) if sees and found.spoke else None
        policy = machine_policies.of_target(target)
        return render_template("target.html", target=found, spoke=spoke, policy=policy)


@pages.post("/<target>/enable")
@permission(Permission.TARGET_EDIT)
def enable(target: str) -> ResponseReturnValue:
    return _ask("target.enable", {"target": target}, target, "The target takes part again.")


@pages.post("/<target>/disable")
@permission(Permission.TARGET_EDIT)
def disable(target: str) -> ResponseReturnValue:
    wanted = {"target": target, "reason": request.form.get("reason", "")}
    return _ask("target.disable", wanted, target, "The target is left out until it is enabled.")


@pages.post("/<target>/check")
@permission(Permission.TARGET_CHECK)
def check(target: str) -> ResponseReturnValue:
    try:
        return to_task(change("target.check", {"target": target}))
    except (Refused, StillAsked) as error:
        return _refused(url_for("targets.show", target=target), error)


@pages.post("/<target>/delete")
@permission(Permission.TARGET_EDIT)
def delete(target: str) -> ResponseReturnValue:
    try:
        change("target.delete", {"target": target})
    except (Refused, StillAsked) as error:
        return _refused(url_for("targets.show", target=target), error)
    return said(url_for("targets.index"), "The target is removed.")


@pages.post("/spokes/<spoke>/approve")
@permission(Permission.SPOKE_APPROVE)
def approve(spoke: str) -> ResponseReturnValue:
    wanted = {"spoke": spoke, "thumbprint": request.form.get("thumbprint", "")}
    return _ask("spoke.approve", wanted, None, "The spoke is trusted.")


@pages.post("/spokes/<spoke>/revoke")
@permission(Permission.SPOKE_APPROVE)
def revoke(spoke: str) -> ResponseReturnValue:
    return _ask("spoke.revoke", {"spoke": spoke, "reason": "from the portal"}, None, "The spoke is trusted no longer.")


@pages.get("/new")
@permission(Permission.JOIN_CODE_EDIT)
def new() -> ResponseReturnValue:
    # Asked before the form is filled in, so that nothing typed is lost on the way.
    if not has_proved():
        raise StepUpNeeded("a join code hands out trust")
    return _new_page()


@pages.post("/new")
@permission(Permission.JOIN_CODE_EDIT)
def make_code() -> ResponseReturnValue:
    """The code is shown on the answer of this form and nowhere else again."""
    form = request.form
    wanted = {
        "role": form.get("kind", "spoke"),
        "roles": [word for word in form.get("roles", "").replace(",", " ").split() if word],
        "environments": form.getlist("environment"),
        "name_pattern": form.get("name_pattern", ""),
        "approve": "auto" if form.get("auto") else "manual",
    }
    try:
        made = change("join-code.create", wanted)
    except StepUpNeeded:
        back = url_for(
            "targets.new",
            kind=form.get("kind", "spoke"),
            roles=form.get("roles", ""),
            environment=form.getlist("environment"),
            name_pattern=form.get("name_pattern", ""),
            auto=form.get("auto"),
        )
        return redirect(url_for("login.prove_again", next=back), 303)
    except (Refused, StillAsked) as error:
        return _refused(url_for("targets.new"), error)
    return _new_page(made)


@pages.post("/join-codes/<code>/revoke")
@permission(Permission.JOIN_CODE_EDIT)
def revoke_code(code: str) -> ResponseReturnValue:
    try:
        change("join-code.revoke", {"join_code": code})
    except (Refused, StillAsked) as error:
        return _refused(url_for("targets.new"), error)
    return said(url_for("targets.new"), "The join code opens nothing any more.")


def _new_page(made: dict[str, object] | None = None) -> ResponseReturnValue:
    with connection():
        return render_template(
            "join_code.html",
            environments=[row.name for row in environments.environments(Slice(limit=1000)).items],
            codes=infrastructure.join_codes(Slice(limit=_CODES_SHOWN)).items,
            made=made,
            filled=request.args,
        )


def _ask(operation: str, wanted: dict[str, str], target: str | None, words: str) -> ResponseReturnValue:
    back = url_for("targets.show", target=target) if target else url_for("targets.index")
    try:
        done = change(operation, wanted)
    except (Refused, StillAsked) as error:
        return _refused(back, error)
    notice = str(done.get("notice") or "")
    return said(back, f"{words} But {notice}.", "wait") if notice else said(back, words)


def _refused(back: str, error: Refused | StillAsked) -> ResponseReturnValue:
    return said(back, error.detail, "wait" if isinstance(error, StillAsked) else "bad")

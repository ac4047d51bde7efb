"""The queue: what waits and why, what is paused, by whom and since when; to hold it, let it go, or change its order."""

from flask import Blueprint, g, render_template, request, url_for
from flask.typing import ResponseReturnValue

from hub.api.declared import permission
from hub.permissions import Permission
from hub.queries import environments, nodes, projects
from hub.queries import queue as queries
from hub.queries.listing import Slice
from hub.storage.database import connection
from portal.asking import Refused, StillAsked, change
from portal.forms import said

pages = Blueprint("queue", __name__, url_prefix="/queue")

PRIORITIES = ("low", "normal", "high", "urgent")
_SHOWN = 200


@pages.get("")
@permission(Permission.TASK_VIEW)
def show() -> ResponseReturnValue:
    with connection():
        part = Slice(limit=_SHOWN, after=request.args.get("after", ""))
        edits = g.caller.may_somewhere(Permission.QUEUE_EDIT)
        return render_template(
            "queue.html",
            queue=queries.queue(g.caller, part),
            edits=edits,
            nodes=nodes.all_nodes().items,
            priorities=PRIORITIES,
            projects=[row.name for row in projects.all_projects(g.caller, Slice(limit=1000)).items] if edits else [],
            environments=[row.name for row in environments.environments(Slice(limit=1000)).items] if edits else [],
        )


@pages.post("/pause")
@permission(Permission.QUEUE_EDIT)
def pause() -> ResponseReturnValue:
    wanted = _place() | {"reason": request.form.get("reason", "")}
    return _ask("queue.pause", wanted, "{place} is paused. What runs goes on; nothing new begins there.")


@pages.post("/resume")
@permission(Permission.QUEUE_EDIT)
def resume() -> ResponseReturnValue:
    return _ask("queue.resume", _place(), "{place} goes on.")


@pages.post("/<task>/priority")
@permission(Permission.QUEUE_EDIT)
def prioritise(task: str) -> ResponseReturnValue:
    wanted = {"task": task, "priority": request.form.get("priority", "")}
    return _ask("task.prioritise", wanted, "Its priority is {priority} now.")


def _place() -> dict[str, str]:
    return {name: ref for name in ("project", "environment") if (ref := request.form.get(name, ""))}


def _ask(operation: str, wanted: dict[str, str], words: str) -> ResponseReturnValue:
    back = url_for("queue.show")
    try:
        done = change(operation, wanted)
    except (Refused, StillAsked) as error:
        return said(back, error.detail, "wait" if isinstance(error, StillAsked) else "bad")
    told = words.format(**{name: done[name] for name in ("place", "priority") if name in done})
    return said(back, told[:1].upper() + told[1:])

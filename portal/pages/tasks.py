"""Tasks: the list, and one task with its steps, its live log, and why it waits."""

from collections.abc import Iterator

from flask import Blueprint, Response, g, render_template, request, url_for
from flask.typing import ResponseReturnValue

from hub.api.declared import permission
from hub.permissions import Permission
from hub.queries import tasks
from hub.queries.listing import Slice
from hub.states import TASK_ENDED
from hub.storage.database import connection
from portal.asking import Refused, StillAsked, change
from portal.forms import said
from portal.parts import portal_parts

pages = Blueprint("tasks", __name__, url_prefix="/tasks")

_LINES_AT_ONCE = 1000


@pages.get("")
@permission(Permission.TASK_VIEW)
def index() -> ResponseReturnValue:
    state = request.args.get("state", "")
    with connection():
        part = Slice(limit=50, after=request.args.get("after", ""))
        page = tasks.all_tasks(g.caller, part, states=[state] if state else ())
        return render_template("tasks.html", page=page, state=state)


@pages.get("/<task>")
@permission(Permission.TASK_VIEW)
def show(task: str) -> ResponseReturnValue:
    with connection():
        found = tasks.task(g.caller, task)
        return render_template("task.html", task=found, ended=found.state in TASK_ENDED)


@pages.get("/<task>/log.txt")
@permission(Permission.TASK_VIEW)
def raw(task: str) -> ResponseReturnValue:
    """The whole log as plain text, page by page, so that a long one takes no memory."""
    with connection():
        found = tasks.row_of(g.caller, task)
    headers = {"Content-Disposition": f'attachment; filename="task-{found.id}.txt"'}
    return Response(
        _text(task, g.caller, portal_parts().api.vault), headers=headers, content_type="text/plain; charset=utf-8"
    )


@pages.post("/<task>/cancel")
@permission(Permission.TASK_CANCEL)
def cancel(task: str) -> ResponseReturnValue:
    return _ask("task.cancel", task, "Asked to cancel; the end says whether it is confirmed.")


@pages.post("/<task>/retry")
@permission(Permission.DEPLOYMENT_CREATE)
def retry(task: str) -> ResponseReturnValue:
    return _ask("task.retry", task, "The same again, as a new task.")


def _ask(operation: str, task: str, words: str) -> ResponseReturnValue:
    try:
        answer = change(operation, {"task": task})
    except (Refused, StillAsked) as error:
        return said(url_for("tasks.show", task=task), error.detail, "wait" if isinstance(error, StillAsked) else "bad")
    return said(url_for("tasks.show", task=answer["task"]), words)


def _text(task: str, caller: object, vault: object) -> Iterator[str]:
    after: int | None = -1
    while after is not None:
        with connection():
            page = tasks.log(caller, vault, task, after=after, limit=_LINES_AT_ONCE)  # type: ignore[arg-type]  # As given.
        yield "".join(f"{line.at} {line.target or '-'} {line.level} {line.text}\n" for line in page.items)
        after = page.next

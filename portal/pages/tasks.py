"""Tasks: what is under way and what has ended, and one task with its steps, its live log, and why it waits."""

from collections.abc import Iterator

from flask import Blueprint, Response, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from hub.access.caller import Caller
from hub.api.declared import permission
from hub.permissions import Permission
from hub.queries import tasks
from hub.queries.listing import Slice
from hub.states import TASK_ENDED, TaskState
from hub.storage.database import connection
from hub.storage.vault import Vault
from portal.asking import Refused, StillAsked, change
from portal.forms import said
from portal.parts import portal_parts

pages = Blueprint("tasks", __name__, url_prefix="/tasks")

_LINES_AT_ONCE = 1000
_UNDER_WAY = tuple(str(state) for state in TaskState if state not in TASK_ENDED)
_ENDED = tuple(str(state) for state in TaskState if state in TASK_ENDED)


@pages.get("")
@permission(Permission.TASK_VIEW)
def index() -> ResponseReturnValue:
    """Without a filter the queue stands above what has ended."""
    state = request.args.get("state", "")
    chosen = [state] if state in _UNDER_WAY + _ENDED else []
    after = request.args.get("after", "")
    with connection():
        page = tasks.all_tasks(g.caller, Slice(limit=50, after=after), states=chosen or _ENDED)
        queue = [] if chosen or after else tasks.all_tasks(g.caller, Slice(limit=200), states=_UNDER_WAY).items
        return render_template(
            "tasks.html", page=page, queue=queue[::-1], state=chosen[0] if chosen else "", states=_UNDER_WAY + _ENDED
        )


@pages.get("/<task>")
@permission(Permission.TASK_VIEW)
def show(task: str) -> ResponseReturnValue:
    with connection():
        found = tasks.task(g.caller, task)
        return render_template("task.html", task=found, ended=found.state in TASK_ENDED)


@pages.get("/<task>/log.txt")
@permission(Permission.TASK_VIEW)
def raw(task: str) -> ResponseReturnValue:
    """The whole log as plain text, every byte as it was printed; page by page, so that a long one takes no memory."""
    with connection():
        found = tasks.row_of(g.caller, task)
    headers = {"Content-Disposition": f'attachment; filename="task-{found.id}.txt"'}
    lines = _text(g.caller, portal_parts().api.vault, found.id)
    return Response(lines, headers=headers, content_type="text/plain; charset=utf-8")


@pages.post("/<task>/cancel")
@permission(Permission.TASK_CANCEL)
def cancel(task: str) -> ResponseReturnValue:
    return _ask("task.cancel", task, "Asked to cancel. The end says whether every process was seen to end.")


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


def to_task(answer: dict[str, str]) -> ResponseReturnValue:
    """On to the task that an operation has made."""
    return redirect(url_for("tasks.show", task=answer["task"]), 303)


def _text(caller: Caller, vault: Vault, task: str) -> Iterator[bytes]:
    after: int | None = 0
    while after is not None:
        with connection():
            page = tasks.log(caller, vault, task, after=after, limit=_LINES_AT_ONCE)
        lines = (f"{line.at} {line.target or '-'} {line.level} {line.text}\n" for line in page.items)
        # Half a surrogate pair is no UTF-8; the rest of the line is.
        yield "".join(lines).encode("utf-8", "replace")
        after = page.next

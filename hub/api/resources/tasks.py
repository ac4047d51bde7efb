"""`/tasks`, `/runs`, and the log of a task: in pages, and live."""

from typing import Literal

from flask import Response, request

from hub.api import log_stream
from hub.api.query_string import ListQuery, Query, Whole, Word
from hub.api.route import Call, Resource
from hub.permissions import Permission
from hub.queries import tasks as queries
from hub.queries.listing import Page
from hub.queries.tasks import LogPage, TaskDetail, TaskView
from hub.states import TaskKind, TaskState

RESOURCE = Resource("tasks")
RUNS = Resource("runs")

_STATES = frozenset(str(state) for state in TaskState)


class TasksQuery(ListQuery):
    """`state`: one or more, with commas between."""

    state: Word = ""
    kind: Literal["", "deployment", "script-run", "health-check"] = ""
    project: Word = ""
    environment: Word = ""


class LogQuery(Query):
    after: Whole = 0
    limit: Whole = 100
    step: Word | None = None
    target: Word | None = None
    level: Word | None = None
    q: Word | None = None


class StreamQuery(Query):
    after: Whole = 0


@RESOURCE.get("/tasks", Page[TaskView], Permission.TASK_VIEW, "Tasks, newest first", query=TasksQuery)
def list_all(call: Call) -> Page[TaskView]:
    query = call.query
    return queries.all_tasks(
        call.caller,
        query.slice,
        states=_states(query.state),
        kind=query.kind,
        project=query.project,
        environment=query.environment,
    )


@RESOURCE.get("/tasks/<task>", TaskDetail, Permission.TASK_VIEW, "A task with its steps and targets")
def show(call: Call, task: str) -> TaskDetail:
    return queries.task(call.caller, task)


@RESOURCE.get("/tasks/<task>/log", LogPage, Permission.TASK_VIEW, "Lines of a task's log", query=LogQuery)
def log(call: Call, task: str) -> LogPage:
    query = call.query
    return queries.log(
        call.caller,
        call.parts.vault,
        task,
        after=query.after,
        limit=query.limit,
        step=query.step,
        target=query.target,
        level=query.level,
        q=query.q,
    )


@RESOURCE.get(
    "/tasks/<task>/stream",
    None,
    Permission.TASK_VIEW,
    "A task's log and states as they come (server-sent events)",
    query=StreamQuery,
    media_type="text/event-stream",
)
def stream(call: Call, task: str) -> Response:
    row = queries.row_of(call.caller, task)
    return log_stream.response(call, row.id, log_stream.resumed_after(request, call.query.after))


RESOURCE.change("POST", "/tasks/<task>/cancel", "task.cancel")
RESOURCE.change("POST", "/tasks/<task>/retry", "task.retry")


@RUNS.get("/runs", Page[TaskView], Permission.TASK_VIEW, "Script runs, newest first", query=ListQuery)
def list_runs(call: Call) -> Page[TaskView]:
    return queries.all_tasks(call.caller, call.query.slice, kind=str(TaskKind.SCRIPT_RUN))


RUNS.change("POST", "/runs", "run.create")


def _states(text: str) -> list[str]:
    wanted = [state for state in text.split(",") if state]
    for state in wanted:
        if state not in _STATES:
            raise queries.unknown_state(_STATES)
    return wanted

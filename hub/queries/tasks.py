"""Tasks: their state, their steps on each target, their log."""

from collections.abc import Iterable
from typing import Any

from peewee import Expression

from hub.access.caller import Caller
from hub.errors import Invalid, NotFound
from hub.operations.body import Reply
from hub.orchestrator import task_log, waiting
from hub.orchestrator.check_results import is_routine_task
from hub.orchestrator.task_steps import task_steps
from hub.permissions import Permission
from hub.projects import finding
from hub.queries import projects
from hub.queries.listing import Order, Page, Slice, at_text, page, time_text
from hub.queries.shown import is_shown_as, shown_one
from hub.queries.waits import WaitView, wait_views
from hub.states import Priority
from hub.storage.models import Deployment, Environment, Project, Release, Task, now_ms
from hub.storage.vault import Vault


class TaskView(Reply):
    """`project`, `environment` and `release` are names, null where the task has none.

    `cleared_at`: since then its log, plan and files are gone, as it had ended long before.
    """

    id: str
    kind: str
    title: str
    state: str
    project: str | None
    environment: str | None
    release: str | None
    priority: str
    parent: str | None
    created_at: str
    created_by: str | None
    started_at: str | None
    ended_at: str | None
    waiting_for: str
    failure: str
    log_lines: int
    cleared_at: str | None
    version: int


class JobLog(Reply):
    """What came of one attempt's log.

    `digest` is the hash chain's value behind its last record, null while something is missing; `agrees`: whether it is
    the one that the outcome names, null while that names none. `missing`: first and last number of records that never
    came; `fetch`: what is done about them, until `fetch_until`.
    """

    attempt: int
    state: str
    records: int
    bytes: int
    digest: str | None
    outcome_digest: str | None
    agrees: bool | None
    missing: list[list[int]]
    missing_words: str
    fetch: str
    fetch_until: str | None


class StepTarget(Reply):
    """`log`: open, complete, gap, differs or truncated; `logs`: of each attempt, the last one last.

    `pickup_deadline`: until when its spoke may take it, while it has not; `run_deadline`: when its machine ends it,
    while it runs. `ended_processes`: of one that was stopped; `survivors`: whom that did not end, by pid and name.
    """

    name: str
    state: str
    exit_code: int | None
    message: str
    log: str
    logs: list[JobLog]
    started_at: str | None
    ended_at: str | None
    pickup_deadline: str | None
    run_deadline: str | None
    ended_processes: int | None
    survivors: list[str]


class TaskStep(Reply):
    name: str
    state: str
    targets: list[StepTarget]


class TaskDetail(TaskView):
    """`waits`: everything of it that is not finished."""

    steps: list[TaskStep]
    waits: list[WaitView]


class LogLineView(Reply):
    """`step` and `target` are "" for the task's own words."""

    seq: int
    at: str
    step: str
    target: str
    level: str
    text: str


class LogPage(Reply):
    """`next` goes into `?after=`; null: nothing more at present."""

    items: list[LogLineView]
    next: int | None


class DeploymentView(Reply):
    id: str
    task: str
    project: str
    release: str
    environment: str
    state: str
    rollback: bool
    created_at: str
    ended_at: str | None


def view(row: Task) -> TaskView:
    return TaskView(**_members(row))


def all_tasks(
    caller: Caller, part: Slice, *, states: Iterable[str] = (), kind: str = "", project: str = "", environment: str = ""
) -> Page[TaskView]:
    """The newest first; checks that the hub began by itself only where checks are asked for."""
    query = Task.select().where(visible(caller))
    wanted = list(states)
    if wanted:
        query = query.where(is_shown_as(wanted))
    query = query.where(Task.kind == kind if kind else ~is_routine_task())
    if project:
        query = query.where(Task.project == projects.row_of(caller, project).id)
    if environment:
        query = query.where(Task.environment == finding.environment(environment).id)
    return page(query, Order(Task.created_at, Task.id, newest_first=True), part, view)


def row_of(caller: Caller, task_id: str) -> Task:
    """The task, if the caller may see it.

    Raises:
        NotFound: in the same words for a foreign one.
    """
    row = Task.get_or_none((Task.id == task_id) & visible(caller))
    if row is None:
        raise NotFound(f"no task {task_id!r}")
    found: Task = row
    return found


def task(caller: Caller, task_id: str) -> TaskDetail:
    row = row_of(caller, task_id)
    steps = [
        TaskStep(name=step["name"], state=str(step["state"]), targets=[_target(found) for found in step["targets"]])
        for step in task_steps(row.id, now_ms())
    ]
    return TaskDetail(**_members(row), steps=steps, waits=wait_views(waiting.of_task(row, now_ms())))


def log(
    caller: Caller,
    vault: Vault,
    task_id: str,
    *,
    after: int = 0,
    limit: int = 100,
    step: str | None = None,
    target: str | None = None,
    level: str | None = None,
    q: str | None = None,
) -> LogPage:
    row = row_of(caller, task_id)
    lines, following = task_log.read(
        vault, row.id, after=after, limit=limit, step=step, target=target, level=level, q=q
    )
    return LogPage(items=[line_view(line) for line in lines], next=following)


def line_view(line: task_log.LogLine) -> LogLineView:
    return LogLineView(
        seq=line.seq, at=time_text(line.at), step=line.step, target=line.target, level=line.level, text=line.text
    )


def unknown_state(known: Iterable[str]) -> Invalid:
    return Invalid(f"expected one or more of {', '.join(sorted(known))}, with commas between", field="state")


def deployments(caller: Caller, part: Slice, *, project: str = "", environment: str = "") -> Page[DeploymentView]:
    """The newest first."""
    query = Deployment.select(Deployment, Task).join(Task, on=(Deployment.task == Task.id)).where(visible(caller))
    if project:
        query = query.where(Deployment.project == projects.row_of(caller, project).id)
    if environment:
        query = query.where(Deployment.environment == finding.environment(environment).id)
    order = Order(Deployment.created_at, Deployment.id, newest_first=True)
    return page(query, order, part, deployment_view)


def deployment(caller: Caller, deployment_id: str) -> DeploymentView:
    row = Deployment.get_or_none(Deployment.id == deployment_id)
    if row is None:
        raise NotFound(f"no deployment {deployment_id!r}")
    try:
        row_of(caller, _task_id(row))
    except NotFound:
        raise NotFound(f"no deployment {deployment_id!r}") from None
    return deployment_view(row)


def deployment_view(row: Deployment) -> DeploymentView:
    work = Task.get_by_id(_task_id(row))
    return DeploymentView(
        id=row.id,
        task=work.id,
        project=Project.get_by_id(row.project).name,
        release=Release.get_by_id(row.release).version,
        environment=Environment.get_by_id(row.environment).name,
        state=str(shown_one(work).state),
        rollback=row.rollback,
        created_at=time_text(row.created_at),
        ended_at=at_text(work.ended_at),
    )


def visible(caller: Caller) -> Expression:
    """Tasks of the projects and environments in which the caller may look at tasks; those of no project need all."""
    everywhere = caller.projects_with(Permission.TASK_VIEW)
    limited = caller.environments_with(Permission.TASK_VIEW, None)
    if everywhere is None and limited is None:
        return Task.id.is_null(False)
    allowed = Task.id.is_null(True)
    projects_seen = [row.id for row in Project.select(Project.id)] if everywhere is None else everywhere
    for found in projects_seen:
        reachable = caller.environments_with(Permission.TASK_VIEW, found)
        inside = Task.project == found
        allowed |= inside if reachable is None else inside & (Task.environment << reachable)
    return allowed


def _target(found: dict[str, Any]) -> StepTarget:
    return StepTarget(
        name=found["name"],
        state=str(found["state"]),
        exit_code=found["exit_code"],
        message=found["message"],
        log=str(found["log"]),
        logs=[JobLog(**{**one, "fetch_until": at_text(one["fetch_until"])}) for one in found["logs"]],
        started_at=at_text(found["started_at"]),
        ended_at=at_text(found["ended_at"]),
        pickup_deadline=at_text(found["pickup_deadline"]),
        run_deadline=at_text(found["run_deadline"]),
        ended_processes=found["ended_processes"],
        survivors=found["survivors"],
    )


def _task_id(row: Deployment) -> str:
    # A joined query fills in the row where the id stands otherwise.
    return str(getattr(row.task, "id", row.task))


def _members(row: Task) -> dict[str, Any]:
    project = Project.get_or_none(Project.id == row.project)
    environment = Environment.get_or_none(Environment.id == row.environment)
    release = Release.get_or_none(Release.id == row.release)
    seen = shown_one(row)
    return {
        "id": row.id,
        "kind": str(row.kind),
        "title": row.title,
        "state": str(seen.state),
        "project": project.name if project else None,
        "environment": environment.name if environment else None,
        "release": release.version if release else None,
        "priority": Priority(row.priority).word,
        "parent": row.parent,
        "created_at": time_text(row.created_at),
        "created_by": row.created_by,
        "started_at": at_text(row.started_at),
        "ended_at": at_text(row.ended_at),
        "waiting_for": seen.waiting_for,
        "failure": row.failure,
        "log_lines": row.log_lines,
        "cleared_at": at_text(row.cleared_at),
        "version": row.version,
    }

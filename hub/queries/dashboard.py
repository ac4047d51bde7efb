"""What is where: for each project and environment the newest deployment, and what the last good one brought."""

from typing import Any

from peewee import JOIN, fn

from hub.access.caller import Caller
from hub.operations.body import Reply
from hub.orchestrator.check_results import is_routine_task
from hub.permissions import Permission
from hub.queries import tasks
from hub.queries.listing import at_text, time_text
from hub.queries.shown import Shown, counts, shown
from hub.states import Health, TaskKind, TaskState
from hub.storage.models import (
    Deployment,
    Environment,
    JoinToken,
    Package,
    Project,
    Release,
    Spoke,
    Target,
    Task,
    User,
    now_ms,
)

_DAY_MS = 24 * 3600 * 1000


class Cell(Reply):
    """The newest deployment; `running_version` is the release that last succeeded there, if that is another one.

    `rollback`: it went back to a release that was there before.

    `task`: null where the caller may not look at tasks of that environment.
    """

    task: str | None
    version: str
    state: str
    waiting_for: str
    at: str
    ended_at: str | None
    running_version: str | None
    rollback: bool


class Row(Reply):
    """`cells` in the order of the matrix's environments; null where nothing was ever deployed."""

    project: str
    slug: str
    group: str
    cells: list[Cell | None]


class FirstSteps(Reply):
    """What a new hub still lacks, each true once it is there."""

    environments: bool
    targets: bool
    pending_spokes: int
    packages: bool
    projects: bool
    releases: bool
    deployments: bool
    join_codes: bool


class Counts(Reply):
    """Tasks that the caller may see, and targets that take part: what somebody may have to look at."""

    queued: int
    running: int
    waiting: int
    failed_today: int
    targets: int
    targets_in_trouble: int


class Matrix(Reply):
    environments: list[str]
    rows: list[Row]
    first_steps: FirstSteps
    counts: Counts


def matrix(caller: Caller) -> Matrix:
    """All projects that the caller may see; a fixed number of queries however many there are."""
    environments = list(Environment.select().order_by(Environment.position, Environment.id))
    query = Project.select().order_by(Project.group, Project.name)
    visible = caller.projects_with(Permission.PROJECT_VIEW)
    if visible is not None:
        query = query.where(Project.id << visible)
    newest, good = _newest_deployments(), _newest_good_versions()
    seen = shown(row.work for row in newest.values())
    rows = [
        Row(
            project=project.name,
            slug=project.slug,
            group=project.group,
            cells=[_cell(caller, newest, good, seen, (project.id, environment.id)) for environment in environments],
        )
        for project in query
    ]
    return Matrix(
        environments=[row.name for row in environments],
        rows=rows,
        first_steps=_first_steps(bool(rows)),
        counts=_counts(caller),
    )


def nobody_yet() -> bool:
    """Whether the first administrator is still to come."""
    return not User.select().exists()


Place = tuple[str, str]


def _newest_deployments() -> dict[Place, Any]:
    newest = (
        Deployment.select(Deployment.project, Deployment.environment, fn.MAX(Deployment.created_at).alias("at"))
        .group_by(Deployment.project, Deployment.environment)
        .alias("newest")
    )
    same = (
        (Deployment.project == newest.c.project_id)
        & (Deployment.environment == newest.c.environment_id)
        & (Deployment.created_at == newest.c.at)
    )
    query = (
        Deployment.select(Deployment, Task, Release)
        .join(newest, JOIN.INNER, on=same)
        .switch(Deployment)
        .join(Task, on=(Deployment.task == Task.id), attr="work")
        .switch(Deployment)
        .join(Release, on=(Deployment.release == Release.id), attr="frozen")
    )
    return {(row.project, row.environment): row for row in query}


def _newest_good_versions() -> dict[Place, str]:
    good = (
        Deployment.select(Deployment.project, Deployment.environment, fn.MAX(Deployment.created_at).alias("at"))
        .join(Task, on=(Deployment.task == Task.id))
        .where(Task.state == "succeeded")
        .group_by(Deployment.project, Deployment.environment)
        .alias("good")
    )
    same = (
        (Deployment.project == good.c.project_id)
        & (Deployment.environment == good.c.environment_id)
        & (Deployment.created_at == good.c.at)
    )
    query: Any = (
        Deployment.select(Deployment, Release)
        .join(good, JOIN.INNER, on=same)
        .switch(Deployment)
        .join(Release, on=(Deployment.release == Release.id), attr="frozen")
    )
    return {(row.project, row.environment): row.frozen.version for row in query}


def _cell(
    caller: Caller, newest: dict[Place, Any], good: dict[Place, str], seen: dict[str, Shown], place: Place
) -> Cell | None:
    row = newest.get(place)
    if row is None:
        return None
    version, runs = row.frozen.version, good.get(place)
    return Cell(
        task=row.work.id if caller.may(Permission.TASK_VIEW, *place) else None,
        version=version,
        state=str(seen[row.work.id].state),
        waiting_for=seen[row.work.id].waiting_for,
        at=time_text(row.created_at),
        ended_at=at_text(row.work.ended_at),
        running_version=runs if runs != version else None,
        rollback=row.rollback,
    )


def _first_steps(projects: bool) -> FirstSteps:
    return FirstSteps(
        environments=Environment.select().exists(),
        targets=Target.select().exists(),
        pending_spokes=Spoke.select().where(Spoke.state == "pending").count(),
        packages=Package.select().exists(),
        projects=projects,
        releases=Release.select().exists(),
        deployments=Deployment.select().exists(),
        join_codes=JoinToken.select().exists(),
    )


def _counts(caller: Caller) -> Counts:
    under_way = counts(tasks.visible(caller))
    failed = Task.select().where(
        tasks.visible(caller),
        Task.state << [TaskState.FAILED, TaskState.UNKNOWN],
        Task.ended_at >= now_ms() - _DAY_MS,
        ~is_routine_task(),
        Task.kind != TaskKind.PREVIEW,
    )
    taking_part = Target.select().where(Target.disabled_at.is_null())
    trouble = taking_part.where(Target.health << [Health.UNHEALTHY, Health.UNAVAILABLE])
    return Counts(
        queued=under_way.get(TaskState.QUEUED, 0),
        running=under_way.get(TaskState.RUNNING, 0) + under_way.get(TaskState.CANCELLING, 0),
        waiting=under_way.get(TaskState.WAITING, 0),
        failed_today=failed.count(),
        targets=taking_part.count(),
        targets_in_trouble=trouble.count(),
    )

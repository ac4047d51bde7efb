"""Projects and their processes, as far as the caller may see them."""

from typing import Any

from pydantic import JsonValue

from hub.access.caller import Caller
from hub.errors import NotFound
from hub.operations.body import Reply
from hub.permissions import Permission
from hub.projects import finding, projects
from hub.projects.process import as_written
from hub.queries import environments
from hub.queries.listing import Order, Page, Slice, page
from hub.storage.models import Lifecycle, Project


class ProjectView(Reply):
    id: str
    name: str
    slug: str
    description: str
    group: str
    lifecycle: str
    variable_sets: list[str]
    concurrency: str
    tasks_at_once: int | None
    steps: int
    process_version: int
    version: int


class ProcessView(Reply):
    """Steps as the project file writes them."""

    project: str
    steps: list[dict[str, JsonValue]]
    version: int


def view(row: Project) -> ProjectView:
    return ProjectView(
        id=row.id,
        name=row.name,
        slug=row.slug,
        description=row.description,
        group=row.group,
        lifecycle=Lifecycle.get_by_id(row.lifecycle).name,
        variable_sets=[found.name for found in projects.sets_of(row)],
        concurrency=row.concurrency,
        tasks_at_once=row.tasks_at_once,
        steps=len(row.process),
        process_version=row.process_version,
        version=row.version,
    )


def process_view(row: Project) -> ProcessView:
    return ProcessView(project=row.id, steps=written_steps(row), version=row.process_version)


def written_steps(row: Project) -> list[dict[str, Any]]:
    names = environments.names()
    return [as_written(step, lambda found: names.get(found, found)) for step in row.process]


def all_projects(caller: Caller, part: Slice, q: str = "") -> Page[ProjectView]:
    query = Project.select()
    visible = caller.projects_with(Permission.PROJECT_VIEW)
    if visible is not None:
        query = query.where(Project.id << visible)
    if q:
        query = query.where(Project.name.contains(q))
    return page(query, Order(Project.name, Project.id), part, view)


def row_of(caller: Caller, ref: str) -> Project:
    """The row, if the caller may see it; otherwise it is not there.

    Raises:
        NotFound: in the same words for a project that is foreign and for one that does not exist.
    """
    row = finding.project(ref)
    if not caller.sees_project(row.id):
        raise NotFound(f"no project {ref!r}")
    return row


def project(caller: Caller, ref: str) -> ProjectView:
    return view(row_of(caller, ref))


def process(caller: Caller, ref: str) -> ProcessView:
    return process_view(row_of(caller, ref))

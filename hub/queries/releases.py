"""Releases: what was frozen, where it went, and where it may go next."""

import json
from typing import Any

from hub.access.caller import Caller
from hub.errors import NotFound
from hub.operations.body import Reply, is_id
from hub.permissions import Permission
from hub.projects import finding, releases
from hub.queries import environments, projects
from hub.queries.listing import Order, Page, Slice, page, time_text
from hub.storage.models import Environment, Project, Release


class ReleaseView(Reply):
    """`project` is its id, `version` its number."""

    id: str
    project: str
    project_name: str
    version: str
    notes: str
    packages: dict[str, str]
    created_at: str
    created_by: str | None


class FrozenVariable(Reply):
    name: str
    value: str | None
    secret: bool
    source: str


class ReleaseDetail(ReleaseView):
    steps: list[str]
    variables: list[FrozenVariable]


class EnvironmentProgress(Reply):
    environment: str
    name: str
    succeeded: bool
    present: bool
    allowed: bool
    reason: str


class ProgressionView(Reply):
    """For every environment of the lifecycle: was the release there, is it, may it go there now, and if not, why."""

    release: str
    environments: list[EnvironmentProgress]


def view(row: Release, names: dict[str, str] | None = None) -> ReleaseView:
    return ReleaseView(**_members(row, names))


def _members(row: Release, names: dict[str, str] | None = None) -> dict[str, Any]:
    name = names[row.project] if names else Project.get_by_id(row.project).name
    return {
        "id": row.id,
        "project": row.project,
        "project_name": name,
        "version": row.version,
        "notes": row.notes,
        "packages": row.packages,
        "created_at": time_text(row.created_at),
        "created_by": row.created_by,
    }


def all_releases(caller: Caller, part: Slice, project: str = "") -> Page[ReleaseView]:
    """The newest first."""
    query = Release.select()
    visible = caller.projects_with(Permission.PROJECT_VIEW)
    if visible is not None:
        query = query.where(Release.project << visible)
    if project:
        query = query.where(Release.project == projects.row_of(caller, project).id)
    names = {row.id: row.name for row in Project.select(Project.id, Project.name)}
    return page(query, Order(Release.created_at, Release.id, newest_first=True), part, lambda row: view(row, names))


def row_of(caller: Caller, ref: str, project: str = "") -> Release:
    """A release that the caller may see, by id or by version within a project."""
    if project:
        return finding.release(ref, of=projects.row_of(caller, project))
    row = Release.get_or_none(Release.id == ref) if is_id(ref) else None
    if row is None or not caller.sees_project(row.project):
        raise NotFound(f"no release {ref!r}; a version alone needs its project")
    found: Release = row
    return found


def release(caller: Caller, ref: str, project: str = "") -> ReleaseDetail:
    row = row_of(caller, ref, project)
    snapshot = json.loads(row.snapshot)
    readable = caller.may(Permission.VARIABLE_VIEW, row.project)
    shown = [
        FrozenVariable(name=v["name"], value=v["value"], secret=v["secret"], source=v["source"])
        for v in snapshot["variables"]
    ]
    return ReleaseDetail(
        **_members(row), steps=[step["name"] for step in snapshot["process"]], variables=shown if readable else []
    )


def progression(caller: Caller, ref: str, project: str = "") -> ProgressionView:
    row = row_of(caller, ref, project)
    done, present = releases.succeeded_in(row), releases.present_in(row)
    known = environments.names()
    return ProgressionView(
        release=row.id,
        environments=[
            _progress(row, Environment.get_by_id(environment), environment in done, environment in present)
            for environment in releases.environments_of(row)
            if environment in known
        ],
    )


def _progress(row: Release, environment: Environment, succeeded: bool, present: bool) -> EnvironmentProgress:
    verdict = releases.may_be_deployed(row, environment)
    return EnvironmentProgress(
        environment=environment.id,
        name=environment.name,
        succeeded=succeeded,
        present=present,
        allowed=verdict.allowed,
        reason=verdict.reason,
    )

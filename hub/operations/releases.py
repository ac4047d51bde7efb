"""Releases, as operations."""

from typing import Annotated

from pydantic import Field, StringConstraints

from hub.operations.body import Body, Nothing, Ref, Text
from hub.operations.context import Context
from hub.operations.operation import Done, Operation, Scope
from hub.permissions import Permission
from hub.projects import finding
from hub.projects import releases as service
from hub.queries.releases import ReleaseView, view
from hub.storage.models import Release

VersionText = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class CreateRelease(Body):
    project: Ref
    version: VersionText | None = None
    packages: Annotated[dict[str, VersionText], Field(max_length=100)] = Field(default_factory=dict)
    notes: Text = ""


class DeleteRelease(Body):
    release: Ref
    project: Ref | None = None


def _of_project(body: CreateRelease) -> tuple[Scope, ...]:
    return (Scope(project=finding.project(body.project, "project").id),)


def _of_release(body: DeleteRelease) -> tuple[Scope, ...]:
    return (Scope(project=_row(body).project),)


def _row(body: DeleteRelease) -> Release:
    return finding.release(body.release, of=finding.project(body.project) if body.project else None)


def _create(context: Context, body: CreateRelease) -> Done:
    project = finding.project(body.project)
    row = service.create(context, project, version=body.version, packages=body.packages, notes=body.notes)
    detail = {"version": row.version, "packages": row.packages, "snapshot": row.snapshot_sha256}
    return Done(view(row), f"release:{row.id}", project=project.id, detail=detail)


def _delete(_: Context, body: DeleteRelease) -> Done:
    row = _row(body)
    service.delete(row)
    return Done(Nothing(), f"release:{row.id}", project=row.project, detail={"version": row.version})


OPERATIONS = (
    Operation(
        "release.create",
        "Freeze a project under a version",
        CreateRelease,
        ReleaseView,
        Permission.RELEASE_CREATE,
        _create,
        _of_project,
        status=201,
    ),
    Operation(
        "release.delete",
        "Remove a release that is not being deployed",
        DeleteRelease,
        Nothing,
        Permission.RELEASE_DELETE,
        _delete,
        _of_release,
        status=204,
    ),
)

"""Lifecycles, as operations."""

from pydantic import Field

from hub.operations.body import Body, IfVersion, Line, Name, Nothing, Ref
from hub.operations.context import Context
from hub.operations.operation import Done, Operation
from hub.permissions import Permission
from hub.projects import finding
from hub.projects import lifecycles as service
from hub.projects.lifecycles import PhaseList
from hub.queries.lifecycles import LifecycleView, view


class CreateLifecycle(Body):
    name: Name
    description: Line = ""
    phases: PhaseList = Field(default_factory=list)


class UpdateLifecycle(Body):
    lifecycle: Ref
    name: Name
    description: Line = ""
    phases: PhaseList
    if_version: IfVersion


class DeleteLifecycle(Body):
    lifecycle: Ref


def _create(context: Context, body: CreateLifecycle) -> Done:
    row = service.create(context, body.name, body.phases, body.description)
    return Done(view(row), f"lifecycle:{row.id}", detail={"name": row.name})


def _update(context: Context, body: UpdateLifecycle) -> Done:
    row = service.update(
        context,
        finding.lifecycle(body.lifecycle),
        name=body.name,
        phases=body.phases,
        description=body.description,
        if_version=body.if_version,
    )
    return Done(view(row), f"lifecycle:{row.id}", detail={"name": row.name, "phases": row.phases})


def _delete(_: Context, body: DeleteLifecycle) -> Done:
    row = finding.lifecycle(body.lifecycle)
    service.delete(row)
    return Done(Nothing(), f"lifecycle:{row.id}", detail={"name": row.name})


OPERATIONS = (
    Operation(
        "lifecycle.create",
        "Add a lifecycle",
        CreateLifecycle,
        LifecycleView,
        Permission.LIFECYCLE_EDIT,
        _create,
        status=201,
    ),
    Operation(
        "lifecycle.update",
        "Change a lifecycle",
        UpdateLifecycle,
        LifecycleView,
        Permission.LIFECYCLE_EDIT,
        _update,
    ),
    Operation(
        "lifecycle.delete",
        "Remove a lifecycle that no project follows",
        DeleteLifecycle,
        Nothing,
        Permission.LIFECYCLE_EDIT,
        _delete,
        status=204,
    ),
)

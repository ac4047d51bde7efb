"""Environments, as operations: `hub/infrastructure/environments` does the work."""

from typing import Annotated

from pydantic import Field

from hub.errors import Conflict
from hub.infrastructure import environments as service
from hub.operations.body import Body, IfVersion, Line, Name, Nothing, Ref
from hub.operations.context import Context
from hub.operations.operation import Done, Operation
from hub.permissions import Permission
from hub.projects import finding, lifecycles
from hub.queries.environments import EnvironmentView, view

Position = Annotated[int, Field(ge=0, le=100_000)]


class CreateEnvironment(Body):
    name: Name
    description: Line = ""
    position: Position | None = None


class UpdateEnvironment(Body):
    environment: Ref
    name: Name
    description: Line = ""
    position: Position | None = None
    if_version: IfVersion


class DeleteEnvironment(Body):
    environment: Ref


def _create(context: Context, body: CreateEnvironment) -> Done:
    finding.refuse_taken_name(service.Environment, body.name, "environment")
    row = service.create_environment(context, body.name, body.description, body.position)
    return Done(view(row), f"environment:{row.id}", environment=row.id, detail={"name": row.name})


def _update(context: Context, body: UpdateEnvironment) -> Done:
    row = finding.environment(body.environment)
    finding.check_version(row, body.if_version)
    finding.refuse_taken_name(service.Environment, body.name, "environment", but=row.id)
    changes: dict[str, str | int] = {"name": body.name, "description": body.description}
    if body.position is not None:
        changes["position"] = body.position
    row = service.update_environment(context, row.id, **changes)
    return Done(view(row), f"environment:{row.id}", environment=row.id, detail={"name": row.name})


def _delete(context: Context, body: DeleteEnvironment) -> Done:
    row = finding.environment(body.environment)
    held = lifecycles.uses_of(row.id)
    if held:
        raise Conflict(f"lifecycle {held[0]!r} has a phase with environment {row.name!r}")
    service.delete_environment(context, row.id)
    return Done(Nothing(), f"environment:{row.id}", environment=row.id, detail={"name": row.name})


OPERATIONS = (
    Operation(
        "environment.create",
        "Add an environment",
        CreateEnvironment,
        EnvironmentView,
        Permission.ENVIRONMENT_EDIT,
        _create,
        status=201,
    ),
    Operation(
        "environment.update",
        "Change an environment",
        UpdateEnvironment,
        EnvironmentView,
        Permission.ENVIRONMENT_EDIT,
        _update,
    ),
    Operation(
        "environment.delete",
        "Remove an environment that nothing uses",
        DeleteEnvironment,
        Nothing,
        Permission.ENVIRONMENT_EDIT,
        _delete,
        status=204,
    ),
)

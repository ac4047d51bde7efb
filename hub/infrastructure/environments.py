"""Environments: where releases go, in the order in which the dashboard shows them."""

from typing import Any

from peewee import IntegrityError, fn

from hub.acting import Acting
from hub.errors import Conflict, Invalid, NotFound
from hub.infrastructure.display_names import fault_of
from hub.states import TASK_ENDED, TaskKind
from hub.storage.models import Deployment, Environment, Target, TargetEnvironment, Task

__all__ = ["Environment", "create_environment", "delete_environment", "update_environment"]


def create_environment(_context: Acting, name: str, description: str = "", position: int | None = None) -> Environment:
    """A new one; after all others unless a position is given."""
    _check_name(name)
    if position is None:
        position = (Environment.select(fn.MAX(Environment.position)).scalar() or 0) + 1
    row: Environment = Environment.create(name=name, description=description, position=position)
    return row


def update_environment(_context: Acting, environment_id: str, **changes: Any) -> Environment:
    """Change name, description or position."""
    row = _find(environment_id)
    if "name" in changes:
        _check_name(changes["name"], but=row.id)
    for column in ("name", "description", "position"):
        setattr(row, column, changes.get(column, getattr(row, column)))
    row.version += 1
    row.save()
    return row


def delete_environment(_context: Acting, environment_id: str) -> None:
    """Remove one that nothing uses, with the dry runs that were made for it.

    Raises:
        Conflict: targets stand in it, something was deployed to it, or a task for it is not over.
    """
    row = _find(environment_id)
    target = (
        Target.select(Target.name)
        .join(TargetEnvironment, on=TargetEnvironment.target == Target.id)
        .where(TargetEnvironment.environment == row.id)
        .first()
    )
    if target is not None:
        raise Conflict(f"target {target.name!r} stands in environment {row.name!r}")
    if Deployment.select().where(Deployment.environment == row.id).exists():
        raise Conflict(f"environment {row.name!r} has deployments, whose history needs it")
    work = Task.select().where(Task.environment == row.id)
    if work.where(Task.state.not_in(list(TASK_ENDED))).exists():
        raise Conflict(f"a task for environment {row.name!r} is not over: wait for its end, or cancel it")
    Task.delete().where(Task.environment == row.id, Task.kind == TaskKind.PREVIEW).execute()
    try:
        row.delete_instance()
    except IntegrityError as error:
        raise Conflict(f"environment {row.name!r} is still used") from error


def _find(environment_id: str) -> Environment:
    row: Environment | None = Environment.get_or_none(Environment.id == environment_id)
    if row is None:
        raise NotFound("no such environment")
    return row


def _check_name(name: str, but: str = "") -> None:
    fault = fault_of(name)
    if fault is not None:
        raise Invalid(fault, field="name")
    taken = Environment.get_or_none((fn.LOWER(Environment.name) == name.lower()) & (Environment.id != but))
    if taken is not None:
        raise Conflict(f"there is an environment {taken.name!r} already", field="name")

"""Finds the row that a name or an id means; the same words for what is not there and for what one may not know of."""

from typing import Any

from peewee import Field, fn

from hub.errors import Conflict, NotFound, Stale
from hub.operations.body import is_id
from hub.storage.models import Environment, Lifecycle, Project, Release, VariableSet


def find(
    model: Any,
    ref: str,
    what: str,
    *,
    names: tuple[Field, ...],
    field: str | None = None,
    newest: tuple[Any, ...] = (),
) -> Any:
    """The row with this id, or else with this name; the case of letters counts only between two that differ in it.

    Args:
        model: Its table.
        ref: An id or a name.
        what: The kind of thing, for the message.
        names: The columns that hold names.
        field: Of the request, for the message.
        newest: How to choose among several of one name.

    Raises:
        NotFound: there is none.
    """
    conditions = [model.id == ref] if is_id(ref) else []
    for name in names:
        conditions += [name == ref, fn.LOWER(name) == ref.lower()]
    for condition in conditions:
        row = model.select().where(condition).order_by(*newest).first()
        if row is not None:
            return row
    raise NotFound(f"no {what} {ref!r}", field=field)


def existing(model: Any, name: str) -> Any:
    """The row of this name; None where there is none yet."""
    try:
        return find(model, name, "", names=(model.name,))
    except NotFound:
        return None


def environment(ref: str, field: str | None = None) -> Environment:
    row: Environment = find(Environment, ref, "environment", names=(Environment.name,), field=field)
    return row


def lifecycle(ref: str, field: str | None = None) -> Lifecycle:
    row: Lifecycle = find(Lifecycle, ref, "lifecycle", names=(Lifecycle.name,), field=field)
    return row


def project(ref: str, field: str | None = None) -> Project:
    row: Project = find(Project, ref, "project", names=(Project.slug, Project.name), field=field)
    return row


def variable_set(ref: str, field: str | None = None) -> VariableSet:
    row: VariableSet = find(VariableSet, ref, "variable set", names=(VariableSet.name,), field=field)
    return row


def release(ref: str, of: Project | None = None, field: str | None = None) -> Release:
    """A release by its id, or by its version within a project."""
    row = Release.get_or_none(Release.id == ref) if is_id(ref) else None
    if row is None and of is not None:
        row = Release.get_or_none((Release.project == of.id) & (Release.version == ref))
    if row is None or (of is not None and row.project != of.id):
        where = f" of {of.name}" if of is not None else ""
        raise NotFound(f"no release {ref!r}{where}", field=field)
    return row


def refuse_taken_name(model: Any, name: str, what: str, *, but: str = "") -> None:
    """Raise Conflict where another row has this name, whatever the case of its letters."""
    other = model.get_or_none((fn.LOWER(model.name) == name.lower()) & (model.id != but))
    if other is not None:
        raise Conflict(f"there is a {what} {other.name!r} already", field="name")


def check_version(row: Any, wanted: int, column: str = "version") -> None:
    """Raise Stale where the row was changed since it was read; 0 means that any will do."""
    present = getattr(row, column)
    if wanted not in {0, present}:
        raise Stale(f"it was changed meanwhile: version {wanted} was read, {present} is stored")

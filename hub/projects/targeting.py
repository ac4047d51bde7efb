"""Which targets are meant: by name, by role, by environment; never "all" because nothing was said."""

from collections.abc import Sequence

from hub.errors import Invalid
from hub.operations.body import is_id
from hub.projects import finding
from hub.storage.models import Target, TargetEnvironment
from hub.storage.prepared import Prepared, PreparedRows, holes

_BY_NAME = PreparedRows(Target, lambda count: Target.select().where(Target.name.in_(holes("names", count))), "names")
_BY_ID = PreparedRows(Target, lambda count: Target.select().where(Target.id.in_(holes("ids", count))), "ids")
_PLACES = Prepared(
    lambda count: TargetEnvironment.select(TargetEnvironment.target, TargetEnvironment.environment).where(
        TargetEnvironment.target.in_(holes("targets", count))
    ),
    "targets",
)


def target(ref: str, field: str | None = None) -> Target:
    row: Target = finding.find(Target, ref, "target", names=(Target.name,), field=field)
    return row


def targets_for(*, targets: Sequence[str], roles: Sequence[str], environments: Sequence[str]) -> list[Target]:
    """The targets named, and those that have one of the roles and stand in one of the environments.

    A disabled target is left out unless it is named, which is an error.

    Raises:
        Invalid: nothing was said, or nothing is meant by it. NotFound: a name that is none.
    """
    if not (targets or roles or environments):
        raise Invalid("expected targets, roles or environments; an empty choice is no choice", field="targets")
    named = _named(targets)
    for row in named:
        if row.disabled_at is not None:
            raise Invalid(f"target {row.name!r} is disabled", field="targets")
    chosen = {row.id: row for row in [*named, *_matching(roles, environments)]}
    if not chosen:
        raise Invalid("no target matches", field="roles" if roles else "environments")
    return sorted(chosen.values(), key=lambda row: row.name)


def environments_of(row: Target) -> list[str]:
    """Ids."""
    rows = TargetEnvironment.select().where(TargetEnvironment.target == row.id)
    return [found.environment for found in rows]


def environments_of_all(rows: Sequence[Target]) -> dict[str, list[str]]:
    """Ids, by id of the target."""
    found: dict[str, list[str]] = {row.id: [] for row in rows}
    for target_id, environment in _PLACES.tuples(targets=list(found)):
        found[target_id].append(environment)
    return found


def _named(refs: Sequence[str]) -> list[Target]:
    """The targets of these ids or names; as `target` finds each, but most of them at once."""
    by_id = {row.id: row for row in _BY_ID.all(ids=ids)} if (ids := [ref for ref in refs if is_id(ref)]) else {}
    by_name = {row.name: row for row in _BY_NAME.all(names=refs)} if refs else {}
    return [by_id.get(ref) or by_name.get(ref) or target(ref, f"targets.{index}") for index, ref in enumerate(refs)]


def _matching(roles: Sequence[str], environments: Sequence[str]) -> list[Target]:
    if not (roles or environments):
        return []
    query = Target.select().where(Target.disabled_at.is_null())
    if environments:
        ids = [finding.environment(ref, f"environments.{index}").id for index, ref in enumerate(environments)]
        inside = TargetEnvironment.select(TargetEnvironment.target).where(TargetEnvironment.environment << ids)
        query = query.where(Target.id << inside)
    wanted = set(roles)
    return [row for row in query if not wanted or wanted & set(row.roles)]

"""Which targets are meant: by name, by role, by environment; never "all" because nothing was said."""

from collections.abc import Sequence

from hub.errors import Invalid
from hub.projects import finding
from hub.storage.models import Target, TargetEnvironment


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
    named = [target(ref, f"targets.{index}") for index, ref in enumerate(targets)]
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

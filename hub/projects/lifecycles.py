"""Lifecycles: the phases that a release passes through, in order."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from hub.acting import Acting
from hub.errors import Conflict, Invalid
from hub.operations.body import Body, Name, RefList
from hub.projects import finding
from hub.projects.progression import Phase
from hub.storage.models import Environment, Lifecycle, Project

DEFAULT = "Default"
PhaseJson = dict[str, Any]


class PhaseBody(Body):
    """`require`: how many of its environments must take a release before the next phase opens."""

    name: Name
    environments: Annotated[RefList, Field(min_length=1)]
    require: Literal["all", "any", "none"] | Annotated[int, Field(ge=0, le=500)] = "all"


PhaseList = Annotated[list[PhaseBody], Field(max_length=50)]


def create(context: Acting, name: str, phases: Sequence[PhaseBody], description: str = "") -> Lifecycle:
    finding.refuse_taken_name(Lifecycle, name, "lifecycle")
    row = Lifecycle(name=name, description=description, phases=_stored(phases))
    context.seals.seal(row)
    row.save(force_insert=True)
    return row


def update(
    context: Acting, row: Lifecycle, *, name: str, phases: Sequence[PhaseBody], description: str, if_version: int
) -> Lifecycle:
    finding.check_version(row, if_version)
    finding.refuse_taken_name(Lifecycle, name, "lifecycle", but=row.id)
    row.name, row.description, row.phases = name, description, _stored(phases)
    row.version += 1
    context.seals.seal(row)
    row.save()
    return row


def change_where_different(
    context: Acting, row: Lifecycle, *, phases: Sequence[PhaseBody] | None, description: str | None
) -> None:
    """Change what is given and differs; None leaves a column as it is."""
    wanted = row.phases if phases is None else _stored(phases)
    text = row.description if description is None else description
    if (wanted, text) == (row.phases, row.description):
        return
    row.phases, row.description = wanted, text
    row.version += 1
    context.seals.seal(row)
    row.save()


def delete(row: Lifecycle) -> None:
    used_by = Project.get_or_none(Project.lifecycle == row.id)
    if used_by is not None:
        raise Conflict(f"project {used_by.name!r} follows lifecycle {row.name!r}")
    row.delete_instance()


def default_lifecycle(context: Acting) -> Lifecycle:
    """The one that a project follows when it names none: called Default, made without phases where it is missing."""
    row = Lifecycle.get_or_none(Lifecycle.name == DEFAULT)
    return row or create(context, DEFAULT, [], "A release may go anywhere until phases are written here.")


def phases_of(row: Lifecycle) -> tuple[Phase, ...]:
    return tuple(Phase(p["name"], tuple(p["environments"]), p["require"]) for p in row.phases)


def as_written(row: Lifecycle) -> list[PhaseJson]:
    """Phases with the names of their environments; one that was deleted since is left out."""
    names = {environment.id: environment.name for environment in Environment.select()}
    return [{**phase, "environments": [names[e] for e in phase["environments"] if e in names]} for phase in row.phases]


def uses_of(environment_id: str) -> list[str]:
    """Names of the lifecycles with a phase that holds this environment."""
    return [
        row.name for row in Lifecycle.select() if any(environment_id in phase["environments"] for phase in row.phases)
    ]


def _stored(phases: Sequence[PhaseBody]) -> list[PhaseJson]:
    seen: dict[str, str] = {}
    stored = []
    for index, phase in enumerate(phases):
        field = f"phases.{index}.environments"
        rows = [finding.environment(ref, field) for ref in phase.environments]
        for row in rows:
            if row.id in seen:
                raise Invalid(f"environment {row.name!r} stands in phase {seen[row.id]!r} already", field=field)
            seen[row.id] = phase.name
        if isinstance(phase.require, int) and phase.require > len(rows):
            raise Invalid(
                f"phase {phase.name!r} has {len(rows)} environments and cannot require {phase.require}",
                field=f"phases.{index}.require",
            )
        stored.append({"name": phase.name, "environments": [row.id for row in rows], "require": phase.require})
    return stored

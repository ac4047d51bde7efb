"""Projects: what is deployed, by which steps, along which lifecycle."""

import re
import unicodedata
from collections.abc import Mapping, Sequence

from hub.acting import Acting
from hub.errors import Conflict, Invalid
from hub.projects import finding, lifecycles
from hub.projects.process import ProcessMalformed, StepBody, normal_form
from hub.states import VariableOwner
from hub.storage.models import Lifecycle, Project, ProjectVariableSet, Release, Task, Variable, VariableSet
from runner.contract.step_kind import StepKind

_NOT_IN_SLUGS = re.compile(r"[^a-z0-9]+")


def create(
    context: Acting,
    name: str,
    *,
    description: str = "",
    group: str = "",
    lifecycle: str | None = None,
    variable_sets: Sequence[str] = (),
    concurrency: str = "",
    tasks_at_once: int | None = None,
) -> Project:
    finding.refuse_taken_name(Project, name, "project")
    row = Project(
        name=name,
        slug=_free_slug(name),
        description=description,
        group=group,
        lifecycle=_lifecycle(context, lifecycle),
        concurrency=concurrency,
        tasks_at_once=tasks_at_once,
    )
    context.seals.seal(row)
    row.save(force_insert=True)
    include_sets(row, variable_sets)
    return row


def update(
    context: Acting,
    row: Project,
    *,
    name: str,
    description: str,
    group: str,
    lifecycle: str | None,
    variable_sets: Sequence[str],
    concurrency: str,
    tasks_at_once: int | None,
    if_version: int,
) -> Project:
    """Everything but the process; the slug stays, since links and scripts carry it."""
    finding.check_version(row, if_version)
    finding.refuse_taken_name(Project, name, "project", but=row.id)
    row.name, row.description, row.group = name, description, group
    row.concurrency, row.tasks_at_once = concurrency, tasks_at_once
    row.lifecycle = _lifecycle(context, lifecycle)
    row.version += 1
    context.seals.seal(row)
    row.save()
    include_sets(row, variable_sets)
    return row


def delete(row: Project) -> None:
    """With its releases, deployments, tasks and variables; refused while one of its tasks is under way."""
    from hub.states import TASK_ENDED

    busy = Task.get_or_none((Task.project == row.id) & Task.state.not_in([str(state) for state in TASK_ENDED]))
    if busy is not None:
        raise Conflict(f"task {busy.id} of project {row.name!r} is {busy.state}; cancel it or wait")
    Variable.delete().where((Variable.owner_kind == VariableOwner.PROJECT) & (Variable.owner == row.id)).execute()
    Release.delete().where(Release.project == row.id).execute()
    row.delete_instance()


def set_process(
    context: Acting,
    row: Project,
    steps: list[StepBody],
    kinds: Mapping[str, StepKind],
    *,
    if_version: int,
    at: str = "",
) -> Project:
    """Replace the process.

    Args:
        context: Who acts, and with which seals.
        row: The project.
        steps: The new steps, all of them.
        kinds: The step kinds that the present runner announces.
        if_version: The process version that was read; 0 for any.
        at: What stands before the path of a field at fault.
    """
    finding.check_version(row, if_version, "process_version")
    prefix = f"{at}." if at else ""
    try:
        process = normal_form(steps, kinds, lambda ref: str(finding.environment(ref, f"{prefix}environments").id))
    except ProcessMalformed as error:
        raise Invalid(str(error), field=f"{prefix}{error.field}") from error
    if process != row.process:
        row.process = process
        row.process_version += 1
        row.version += 1
        context.seals.seal(row)
        row.save()
    return row


def include_sets(row: Project, refs: Sequence[str]) -> None:
    """Make these the project's variable sets, and no others; their order is kept."""
    wanted = [finding.variable_set(ref, f"variable_sets.{index}") for index, ref in enumerate(refs)]
    if len({found.id for found in wanted}) != len(wanted):
        raise Invalid("expected each variable set once", field="variable_sets")
    if [found.id for found in wanted] == [found.id for found in sets_of(row)]:
        return
    ProjectVariableSet.delete().where(ProjectVariableSet.project == row.id).execute()
    for position, found in enumerate(wanted):
        ProjectVariableSet.create(project=row.id, variable_set=found.id, position=position)


def sets_of(row: Project) -> list[VariableSet]:
    """In the order in which they give way to one another: the first wins."""
    return list(
        VariableSet.select()
        .join(ProjectVariableSet, on=(ProjectVariableSet.variable_set == VariableSet.id))
        .where(ProjectVariableSet.project == row.id)
        .order_by(ProjectVariableSet.position)
    )


def _lifecycle(context: Acting, ref: str | None) -> Lifecycle:
    return lifecycles.default_lifecycle(context) if ref is None else finding.lifecycle(ref, "lifecycle")


def _free_slug(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = _NOT_IN_SLUGS.sub("-", plain).strip("-")[:80] or "project"
    taken = {row.slug for row in Project.select(Project.slug).where(Project.slug.startswith(slug))}
    number = 2
    free = slug
    while free in taken:
        free, number = f"{slug}-{number}", number + 1
    return free

"""Projects and their processes, as operations."""

from typing import Annotated

from pydantic import Field

from hub.operations.body import Body, IfVersion, Line, Name, Nothing, Ref, RefList, Text
from hub.operations.context import Context
from hub.operations.operation import Done, Operation, Scope
from hub.permissions import Permission
from hub.projects import finding
from hub.projects import projects as service
from hub.projects.concurrency import Concurrency, TasksAtOnce
from hub.projects.process import ProcessBody, StepBody
from hub.queries.projects import ProcessView, ProjectView, process_view, view


class CreateProject(Body):
    """`concurrency`: two tasks with one key never run together; "" for one deployment to an environment at a time.

    `tasks_at_once`: null for as many as the hub's limits say.
    """

    name: Name
    description: Text = ""
    group: Line = ""
    lifecycle: Ref | None = None
    variable_sets: RefList = Field(default_factory=list)
    concurrency: Concurrency = ""
    tasks_at_once: TasksAtOnce | None = None
    process: ProcessBody = Field(default_factory=list)


class UpdateProject(Body):
    project: Ref
    name: Name
    description: Text = ""
    group: Line = ""
    lifecycle: Ref | None = None
    variable_sets: RefList = Field(default_factory=list)
    concurrency: Concurrency = ""
    tasks_at_once: TasksAtOnce | None = None
    if_version: IfVersion


class DeleteProject(Body):
    project: Ref


class UpdateProcess(Body):
    project: Ref
    steps: Annotated[list[StepBody], Field(max_length=100)]
    if_version: IfVersion


def in_project(body: UpdateProject | DeleteProject | UpdateProcess) -> tuple[Scope, ...]:
    return (Scope(project=finding.project(body.project).id),)


def _create(context: Context, body: CreateProject) -> Done:
    row = service.create(
        context,
        body.name,
        description=body.description,
        group=body.group,
        lifecycle=body.lifecycle,
        variable_sets=body.variable_sets,
        concurrency=body.concurrency,
        tasks_at_once=body.tasks_at_once,
    )
    if body.process:
        service.set_process(context, row, body.process, context.step_kinds, if_version=0, at="process")
    return Done(view(row), f"project:{row.id}", project=row.id, detail={"name": row.name})


def _update(context: Context, body: UpdateProject) -> Done:
    row = service.update(
        context,
        finding.project(body.project),
        name=body.name,
        description=body.description,
        group=body.group,
        lifecycle=body.lifecycle,
        variable_sets=body.variable_sets,
        concurrency=body.concurrency,
        tasks_at_once=body.tasks_at_once,
        if_version=body.if_version,
    )
    return Done(view(row), f"project:{row.id}", project=row.id, detail={"name": row.name})


def _delete(_: Context, body: DeleteProject) -> Done:
    row = finding.project(body.project)
    service.delete(row)
    return Done(Nothing(), f"project:{row.id}", project=row.id, detail={"name": row.name})


def _update_process(context: Context, body: UpdateProcess) -> Done:
    row = service.set_process(
        context,
        finding.project(body.project),
        body.steps,
        context.step_kinds,
        if_version=body.if_version,
        at="steps",
    )
    return Done(process_view(row), f"project:{row.id}", project=row.id, detail={"process_version": row.process_version})


OPERATIONS = (
    Operation(
        "project.create", "Add a project", CreateProject, ProjectView, Permission.PROJECT_CREATE, _create, status=201
    ),
    Operation(
        "project.update", "Change a project", UpdateProject, ProjectView, Permission.PROJECT_EDIT, _update, in_project
    ),
    Operation(
        "project.delete",
        "Remove a project with its releases, tasks and variables",
        DeleteProject,
        Nothing,
        Permission.PROJECT_EDIT,
        _delete,
        in_project,
        status=204,
    ),
    Operation(
        "process.update",
        "Replace a project's process",
        UpdateProcess,
        ProcessView,
        Permission.PROCESS_EDIT,
        _update_process,
        in_project,
    ),
)

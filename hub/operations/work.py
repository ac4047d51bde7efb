"""What is done with targets, as operations: script runs; and what becomes of tasks, those of deployments too."""

from typing import Annotated

from pydantic import Field, PrivateAttr, StringConstraints

from hub.errors import Conflict
from hub.operations.body import Body, Ref, RefList, Reply, RoleList
from hub.operations.context import Context
from hub.operations.deploying import refuse_never_there, refuse_out_of_order
from hub.operations.operation import EVERYWHERE, Done, Operation, Scope
from hub.operations.queue import Standing, asked_place, standing_scopes
from hub.permissions import Permission
from hub.projects import finding, targeting
from hub.projects.shells import Shell, check_shell
from hub.states import TASK_ENDED, TaskKind
from hub.storage.models import Deployment, Environment, Release, Target, Task

MAX_TIMEOUT_S = 24 * 3600
_OF_RELEASES = (TaskKind.DEPLOYMENT, TaskKind.PREVIEW)


class CreateRun(Standing):
    """`strict`: the script ends at the first command that fails."""

    script: Annotated[str, StringConstraints(min_length=1, max_length=200_000)]
    shell: Shell = "bash"
    strict: bool = True
    targets: RefList = Field(default_factory=list)
    roles: RoleList = Field(default_factory=list)
    environments: RefList = Field(default_factory=list)
    timeout_s: Annotated[int, Field(ge=1, le=MAX_TIMEOUT_S)] = 3600
    # Those for whom it was asked whether the caller may are those that it then runs on.
    _chosen: list[Target] | None = PrivateAttr(default=None)

    def chosen(self) -> list[Target]:
        """The rows that are meant; found once."""
        if self._chosen is None:
            self._chosen = targeting.targets_for(targets=self.targets, roles=self.roles, environments=self.environments)
        return self._chosen


class OfTask(Body):
    task: Ref


class TaskCreated(Reply):
    task: str


def _run_scopes(body: CreateRun) -> tuple[Scope, ...]:
    """The environments of the targets; a target that stands in none needs the right everywhere."""
    chosen = body.chosen()
    environments = targeting.environments_of_all(chosen)
    scopes = {
        scope: None for row in chosen for scope in [Scope(environment=e) for e in environments[row.id]] or [Scope()]
    }
    return tuple({found: None for scope in scopes for found in standing_scopes(body, scope)})


def _run(context: Context, body: CreateRun) -> Done:
    check_shell(context.step_kinds, body.shell)
    targets = body.chosen()
    task = context.orchestrator.submit_run(
        context,
        script=body.script,
        shell=body.shell,
        targets=targets,
        timeout_s=body.timeout_s,
        strict=body.strict,
        place=asked_place(context, body, EVERYWHERE[0]),
    )
    detail = {"targets": [row.name for row in targets], "shell": body.shell}
    return Done(TaskCreated(task=task.id), f"task:{task.id}", detail=detail)


def _task(body: OfTask) -> Task:
    row: Task = finding.find(Task, body.task, "task", names=())
    return row


def _task_scopes(body: OfTask) -> tuple[Scope, ...]:
    row = _task(body)
    return (Scope(row.project, row.environment),)


def _cancel(context: Context, body: OfTask) -> Done:
    row = _task(body)
    if row.state in TASK_ENDED:
        raise Conflict(f"this task has ended: it is {row.state}")
    context.orchestrator.ask_cancel(context, row)
    return Done(TaskCreated(task=row.id), f"task:{row.id}", project=row.project, environment=row.environment)


def _retry_scopes(body: OfTask) -> tuple[Scope, ...]:
    row = _task(body)
    if row.kind in _OF_RELEASES:
        return (Scope(row.project, row.environment),)
    # A script run again is a script run: only who may run scripts everywhere may repeat one.
    return (Scope(),)


def _retry(context: Context, body: OfTask) -> Done:
    row = _task(body)
    if row.state not in TASK_ENDED:
        raise Conflict(f"this task is {row.state}; it has not ended yet")
    if row.kind not in _OF_RELEASES and not context.caller.may(Permission.RUN_CREATE):
        raise Conflict("only a deployment can be retried with this permission")
    if row.release is not None:
        _refuse_what_may_not_be(row)
    task = context.orchestrator.retry(context, row)
    return Done(
        TaskCreated(task=task.id),
        f"task:{task.id}",
        project=row.project,
        environment=row.environment,
        detail={"retry_of": row.id},
    )


def _refuse_what_may_not_be(row: Task) -> None:
    """A way back needs a success there; all else the lifecycle's leave."""
    release, environment = Release.get_by_id(row.release), Environment.get_by_id(row.environment)
    deployment = Deployment.get_or_none(Deployment.task == row.id)
    if deployment is not None and deployment.rollback:
        refuse_never_there(release, environment)
    else:
        refuse_out_of_order(release, environment)


OPERATIONS = (
    Operation(
        "run.create",
        "Run one script on many targets",
        CreateRun,
        TaskCreated,
        Permission.RUN_CREATE,
        _run,
        _run_scopes,
        status=201,
    ),
    Operation(
        "task.cancel",
        "Cancel a task; its end state says whether that was confirmed",
        OfTask,
        TaskCreated,
        Permission.TASK_CANCEL,
        _cancel,
        _task_scopes,
        status=202,
    ),
    Operation(
        "task.retry",
        "Do the same again, as a new task",
        OfTask,
        TaskCreated,
        Permission.DEPLOYMENT_CREATE,
        _retry,
        _retry_scopes,
        status=201,
    ),
)

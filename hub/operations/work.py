"""What is done with releases and targets, as operations: deployments, script runs, and what becomes of their tasks."""

from typing import Annotated, Literal

from pydantic import Field, PrivateAttr, StringConstraints

from hub.errors import Conflict, Invalid
from hub.operations.body import Body, Ref, RefList, Reply, RoleList
from hub.operations.context import Context
from hub.operations.operation import Done, Operation, Scope
from hub.permissions import Permission
from hub.projects import finding, releases, targeting
from hub.projects.variables import Value, VariableName
from hub.states import TASK_ENDED, TaskKind
from hub.storage.models import Deployment, Environment, Project, Release, Target, Task

MAX_TIMEOUT_S = 24 * 3600


class DeploymentBody(Body):
    """`variables`: plain values for this deployment alone, stronger than all others of equal scope."""

    project: Ref
    release: Ref
    environment: Ref
    variables: Annotated[dict[VariableName, Value], Field(max_length=200)] = Field(default_factory=dict)
    only_targets: RefList | None = None
    skip_steps: Annotated[list[Ref], Field(max_length=100)] = Field(default_factory=list)


class CreateRun(Body):
    script: Annotated[str, StringConstraints(min_length=1, max_length=200_000)]
    shell: Literal["bash", "python"] = "bash"
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


class DeploymentCreated(Reply):
    id: str
    task: str


class TaskCreated(Reply):
    task: str


def what_is_deployed(body: DeploymentBody) -> tuple[Project, Release, Environment]:
    project = finding.project(body.project, "project")
    return (
        project,
        finding.release(body.release, of=project, field="release"),
        finding.environment(body.environment, "environment"),
    )


def refuse_out_of_order(release: Release, environment: Environment) -> None:
    """Raise Conflict where the lifecycle does not let the release go there yet."""
    verdict = releases.may_be_deployed(release, environment)
    if not verdict.allowed:
        raise Conflict(
            f"release {release.version} may not go to {environment.name} yet: {verdict.reason}",
            field="environment",
            code="NOT_YET",
        )


def only_target_ids(body: DeploymentBody) -> list[str] | None:
    if body.only_targets is None:
        return None
    if not body.only_targets:
        raise Invalid("expected at least one target; leave it out for all", field="only_targets")
    return [targeting.target(ref, f"only_targets.{index}").id for index, ref in enumerate(body.only_targets)]


def deployment_scopes(body: DeploymentBody) -> tuple[Scope, ...]:
    project = finding.project(body.project, "project")
    return (Scope(project.id, finding.environment(body.environment, "environment").id),)


def _deploy(context: Context, body: DeploymentBody) -> Done:
    project, release, environment = what_is_deployed(body)
    refuse_out_of_order(release, environment)
    task = context.orchestrator.submit_deployment(
        context,
        release=release,
        environment=environment,
        variables=body.variables,
        only_targets=only_target_ids(body),
        skip_steps=body.skip_steps,
    )
    deployment = Deployment.get(Deployment.task == task.id)
    return Done(
        DeploymentCreated(id=deployment.id, task=task.id),
        f"deployment:{deployment.id}",
        project=project.id,
        environment=environment.id,
        detail={"task": task.id, "release": release.version, "skip_steps": body.skip_steps},
    )


def _run_scopes(body: CreateRun) -> tuple[Scope, ...]:
    """The environments of the targets; a target that stands in none needs the right everywhere."""
    chosen = body.chosen()
    environments = targeting.environments_of_all(chosen)
    return tuple(
        {scope: None for row in chosen for scope in [Scope(environment=e) for e in environments[row.id]] or [Scope()]}
    )


def _run(context: Context, body: CreateRun) -> Done:
    targets = body.chosen()
    task = context.orchestrator.submit_run(
        context, script=body.script, shell=body.shell, targets=targets, timeout_s=body.timeout_s
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
    if row.kind is TaskKind.DEPLOYMENT:
        return (Scope(row.project, row.environment),)
    # A script run again is a script run: only who may run scripts everywhere may repeat one.
    return (Scope(),)


def _retry(context: Context, body: OfTask) -> Done:
    row = _task(body)
    if row.state not in TASK_ENDED:
        raise Conflict(f"this task is {row.state}; it has not ended yet")
    if row.kind is not TaskKind.DEPLOYMENT and not context.caller.may(Permission.RUN_CREATE):
        raise Conflict("only a deployment can be retried with this permission")
    if row.release is not None:
        refuse_out_of_order(Release.get_by_id(row.release), Environment.get_by_id(row.environment))
    task = context.orchestrator.retry(context, row)
    return Done(
        TaskCreated(task=task.id),
        f"task:{task.id}",
        project=row.project,
        environment=row.environment,
        detail={"retry_of": row.id},
    )


OPERATIONS = (
    Operation(
        "deployment.create",
        "Deploy a release to an environment",
        DeploymentBody,
        DeploymentCreated,
        Permission.DEPLOYMENT_CREATE,
        _deploy,
        deployment_scopes,
        status=201,
    ),
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

"""What is done with releases, as operations: to deploy one, to go back to one, to see what would change in files."""

from typing import Annotated

from pydantic import Field

from hub.errors import Conflict, Invalid
from hub.operations.body import Body, Ref, RefList, Reply
from hub.operations.context import Context
from hub.operations.operation import Done, Operation, Scope
from hub.operations.queue import Standing, asked_place, standing_scopes
from hub.permissions import Permission
from hub.projects import finding, releases, targeting
from hub.projects.variables import Value, VariableName
from hub.storage.models import Deployment, Environment, Project, Release
from runner.contract.job import SWITCH


class _Body(Body):
    """`variables`: plain values for this task alone, stronger than all others of equal scope."""

    project: Ref
    environment: Ref
    variables: Annotated[dict[VariableName, Value], Field(max_length=200)] = Field(default_factory=dict)
    only_targets: RefList | None = None
    skip_steps: Annotated[list[Ref], Field(max_length=100)] = Field(default_factory=list)


class DeploymentBody(_Body, Standing):
    release: Ref


class RollbackBody(_Body, Standing):
    """Without a release: the one that was there before the present one."""

    release: Ref | None = None


class DeploymentCreated(Reply):
    id: str
    task: str


class RollbackCreated(Reply):
    """`release`: the version that it goes back to."""

    id: str
    task: str
    release: str


class PreviewCreated(Reply):
    task: str


def what_is_deployed(body: DeploymentBody) -> tuple[Project, Release, Environment]:
    project = finding.project(body.project, "project")
    return (
        project,
        finding.release(body.release, of=project, field="release"),
        finding.environment(body.environment, "environment"),
    )


def what_is_gone_back_to(body: RollbackBody) -> tuple[Project, Release, Environment]:
    """The release that was named, or the one that was there before.

    Raises:
        Conflict: there is none, or it was never there.
    """
    project = finding.project(body.project, "project")
    environment = finding.environment(body.environment, "environment")
    if body.release is not None:
        release = finding.release(body.release, of=project, field="release")
        refuse_never_there(release, environment)
        return project, release, environment
    before = releases.before_the_present(project, environment)
    if before is None:
        raise Conflict(
            f"no other release of {project.name} was in {environment.name} with success before; "
            "name the one to go back to",
            field="environment",
            code="NEVER_THERE",
        )
    return project, before, environment


def refuse_out_of_order(release: Release, environment: Environment) -> None:
    """Raise Conflict where the lifecycle does not let the release go there yet."""
    verdict = releases.may_be_deployed(release, environment)
    if not verdict.allowed:
        raise Conflict(
            f"release {release.version} may not go to {environment.name} yet: {verdict.reason}",
            field="environment",
            code="NOT_YET",
        )


def refuse_never_there(release: Release, environment: Environment) -> None:
    """Raise Conflict where there is nothing to go back to; else going back needs no leave of a lifecycle."""
    if environment.id not in releases.succeeded_in(release):
        raise Conflict(
            f"release {release.version} was never in {environment.name} with success; deploy it instead",
            field="release",
            code="NEVER_THERE",
        )


def only_target_ids(body: _Body) -> list[str] | None:
    if body.only_targets is None:
        return None
    if not body.only_targets:
        raise Invalid("expected at least one target; leave it out for all", field="only_targets")
    return [targeting.target(ref, f"only_targets.{index}").id for index, ref in enumerate(body.only_targets)]


def deployment_scopes(body: DeploymentBody | RollbackBody) -> tuple[Scope, ...]:
    return standing_scopes(body, _scope(body))


def _scope(body: _Body) -> Scope:
    project = finding.project(body.project, "project")
    return Scope(project.id, finding.environment(body.environment, "environment").id)


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
        place=asked_place(context, body, _scope(body)),
    )
    deployment = Deployment.get(Deployment.task == task.id)
    return Done(
        DeploymentCreated(id=deployment.id, task=task.id),
        f"deployment:{deployment.id}",
        project=project.id,
        environment=environment.id,
        detail={"task": task.id, "release": release.version, "skip_steps": body.skip_steps},
    )


def _roll_back(context: Context, body: RollbackBody) -> Done:
    project, release, environment = what_is_gone_back_to(body)
    task = context.orchestrator.submit_deployment(
        context,
        release=release,
        environment=environment,
        variables=body.variables,
        only_targets=only_target_ids(body),
        skip_steps=body.skip_steps,
        mode=SWITCH,
        place=asked_place(context, body, _scope(body)),
    )
    deployment = Deployment.get(Deployment.task == task.id)
    present = Release.get_or_none(Release.id == deployment.previous_release)
    return Done(
        RollbackCreated(id=deployment.id, task=task.id, release=release.version),
        f"deployment:{deployment.id}",
        project=project.id,
        environment=environment.id,
        detail={
            "task": task.id,
            "from": present.version if present else "",
            "release": release.version,
            "skip_steps": body.skip_steps,
        },
    )


def _preview(context: Context, body: DeploymentBody) -> Done:
    project, release, environment = what_is_deployed(body)
    refuse_out_of_order(release, environment)
    task = context.orchestrator.submit_preview(
        context,
        release=release,
        environment=environment,
        variables=body.variables,
        only_targets=only_target_ids(body),
        skip_steps=body.skip_steps,
        place=asked_place(context, body, _scope(body)),
    )
    return Done(
        PreviewCreated(task=task.id),
        f"task:{task.id}",
        project=project.id,
        environment=environment.id,
        detail={"release": release.version, "skip_steps": body.skip_steps},
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
        "deployment.rollback",
        "Go back to a release that was in an environment, without sending its packages",
        RollbackBody,
        RollbackCreated,
        Permission.DEPLOYMENT_CREATE,
        _roll_back,
        deployment_scopes,
        status=201,
    ),
    Operation(
        "deployment.preview",
        "Show what a deployment would change in files, on its targets; nothing is changed",
        DeploymentBody,
        PreviewCreated,
        Permission.DEPLOYMENT_CREATE,
        _preview,
        deployment_scopes,
        status=201,
    ),
)

"""Which event row is told to others, as what, and with which of its facts; what is not named here is told to nobody.

A row's own words are the audit log's: addresses, names of people and variables stand in them. Of those nothing is
passed on; what is told is looked up by ids, or stands in one of the few fields that `_TELLERS` name.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hub.integration.event_types import (
    BY_NAME,
    Actor,
    ActorKind,
    Data,
    DeploymentData,
    EnvironmentData,
    EventType,
    Named,
    PackageData,
    ProjectData,
    ReleaseData,
    RunData,
    SpokeData,
    TargetData,
    TargetHealthData,
)
from hub.states import Health, TaskKind, TaskState
from hub.storage.models import Deployment, Environment, Event, Project, Release, Task


@dataclass(frozen=True, slots=True)
class Telling:
    """An event before it has its number."""

    type: EventType
    subject: str
    data: Data
    project: Named | None = None
    environment: Named | None = None
    correlation_id: str = ""


@dataclass(frozen=True, slots=True)
class _Row:
    """An event row, taken apart."""

    id: str  # Of its object.
    verb: str
    actor: Actor
    project: Named | None
    environment: Named | None
    detail: Mapping[str, Any]


_RUNS = frozenset({TaskKind.SCRIPT_RUN, TaskKind.PREVIEW, TaskKind.HEALTH_CHECK, TaskKind.HOST_KEY_SCAN})
_ENDS = {str(state): state for state in (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED, TaskState.UNKNOWN)}


def telling(row: Event) -> Telling | None:
    """What others are told of an event row; None: nothing."""
    teller = _TELLERS.get(row.action)
    if teller is None:
        return None
    noun, _, verb = row.action.partition(".")
    # How a task ended is told, whatever that was; what was refused did not happen.
    if row.outcome != "ok" and verb not in _ENDS:
        return None
    detail = json.loads(row.bytes)["detail"]
    taken = _Row(
        row.object.partition(":")[2],
        verb,
        _actor(row.actor),
        _project(row.project, detail if noun == "project" else {}),
        _environment(row.environment, detail if noun == "environment" else {}),
        detail,
    )
    return teller(taken)


def _actor(text: str) -> Actor:
    kind, _, found = text.partition(":")
    if kind in {ActorKind.USER, ActorKind.SPOKE}:
        return Actor(kind=ActorKind(kind), id=found)
    return Actor(kind=ActorKind.HUB, id=None)


def _project(found: str | None, detail: Mapping[str, Any]) -> Named | None:
    return _named(Project, found, detail) if found else None


def _environment(found: str | None, detail: Mapping[str, Any]) -> Named | None:
    return _named(Environment, found, detail) if found else None


def _named(model: Any, found: str, detail: Mapping[str, Any]) -> Named:
    row = model.get_or_none(model.id == found)
    return Named(id=found, name=row.name if row is not None else str(detail.get("name", "")))


def _of_deployment(row: _Row) -> Telling | None:
    name = "requested" if row.verb in {"create", "rollback"} else row.verb
    deployment = Deployment.get_or_none((Deployment.id == row.id) | (Deployment.task == row.id))
    return _deployment(deployment, name, row.actor) if deployment is not None else None


def _deployment(row: Deployment, verb: str, actor: Actor) -> Telling | None:
    release = Release.get_or_none(Release.id == row.release)
    if release is None:
        return None
    project, environment = _named(Project, row.project, {}), _named(Environment, row.environment, {})
    states = {"requested": TaskState.QUEUED, "cancel-requested": TaskState.CANCELLING} | _ENDS
    data = DeploymentData(
        actor=actor,
        deployment=row.id,
        task=row.task,
        project=project,
        environment=environment,
        release=release.version,
        state=states[verb],
        rollback=row.rollback,
    )
    return Telling(
        BY_NAME[f"deployment.{verb}.v1"], f"deployments/{row.id}", data, project, environment, correlation_id=row.id
    )


def _of_task(row: _Row) -> Telling | None:
    """A cancel, or another try: of a deployment or of a run."""
    verb = "cancel-requested" if row.verb == "cancel" else "requested"
    task = Task.get_or_none(Task.id == row.id)
    if task is None:
        return None
    deployment = Deployment.get_or_none(Deployment.task == task.id)
    if deployment is not None:
        return _deployment(deployment, verb, row.actor)
    return _run(task, verb, row.actor)


def _of_run(row: _Row) -> Telling | None:
    task = Task.get_or_none(Task.id == row.id)
    return _run(task, "requested" if row.verb == "create" else row.verb, row.actor) if task is not None else None


def _of_preview(row: _Row) -> Telling | None:
    """`deployment.preview` asks for one; `preview.<state>` is its end."""
    task = Task.get_or_none(Task.id == row.id)
    return _run(task, "requested" if row.verb == "preview" else row.verb, row.actor) if task is not None else None


def _run(task: Task, verb: str, actor: Actor) -> Telling | None:
    if task.kind not in _RUNS:
        return None
    states = {"requested": TaskState.QUEUED, "cancel-requested": TaskState.CANCELLING} | _ENDS
    data = RunData(actor=actor, task=task.id, kind=str(task.kind), state=states[verb])
    project = _named(Project, task.project, {}) if task.project else None
    environment = _named(Environment, task.environment, {}) if task.environment else None
    return Telling(BY_NAME[f"run.{verb}.v1"], f"tasks/{task.id}", data, project, environment, correlation_id=task.id)


def _of_release(row: _Row) -> Telling | None:
    if row.project is None:
        return None
    data = ReleaseData(actor=row.actor, release=row.id, project=row.project, version=str(row.detail.get("version", "")))
    return Telling(BY_NAME[f"release.{row.verb}d.v1"], f"releases/{row.id}", data, row.project)


def _of_project(entity: str) -> Callable[[_Row], Telling | None]:
    def tell(row: _Row) -> Telling | None:
        if row.project is None:
            return None
        verb = _PAST[row.verb] if entity == "project" else "changed"
        data = ProjectData(actor=row.actor, project=row.project)
        return Telling(BY_NAME[f"{entity}.{verb}.v1"], f"projects/{row.project.id}", data, row.project)

    return tell


def _of_environment(row: _Row) -> Telling | None:
    environment = row.environment or _environment(row.id, row.detail)
    if environment is None:
        return None
    data = EnvironmentData(actor=row.actor, environment=environment)
    name = BY_NAME[f"environment.{_PAST[row.verb]}.v1"]
    return Telling(name, f"environments/{environment.id}", data, environment=environment)


def _of_package(row: _Row) -> Telling | None:
    data = PackageData(
        actor=row.actor, package=str(row.detail.get("package", "")), version=str(row.detail.get("version", ""))
    )
    verb = "deleted" if row.verb == "delete" else "pushed"
    return Telling(BY_NAME[f"package.{verb}.v1"], f"packages/{row.id}", data)


def _of_target(row: _Row) -> Telling | None:
    verb = _PAST.get(row.verb, "changed")
    return Telling(BY_NAME[f"target.{verb}.v1"], f"targets/{row.id}", TargetData(actor=row.actor, target=row.id))


def _of_health(row: _Row) -> Telling | None:
    before, after = Health(row.detail["from"]), Health(row.detail["to"])
    data = TargetHealthData(actor=row.actor, target=row.id, before=before, health=after)
    return Telling(BY_NAME["target.health-changed.v1"], f"targets/{row.id}", data)


def _of_spoke(row: _Row) -> Telling | None:
    data = SpokeData(actor=row.actor, spoke=row.id)
    return Telling(BY_NAME[f"spoke.{_PAST[row.verb]}.v1"], f"spokes/{row.id}", data)


_PAST = {
    "create": "created",
    "update": "changed",
    "delete": "deleted",
    "enable": "enabled",
    "disable": "disabled",
    "enrol": "enrolled",
    "approve": "approved",
    "revoke": "revoked",
}


_VARIABLES_OF_PROJECT = ("variable.set", "variable.update", "variable.delete")
_TARGET_CHANGES = ("create", "update", "enable", "disable", "delete", "set-policy", "set-endpoint", "confirm-host-key")

_TELLERS: Mapping[str, Callable[[_Row], Telling | None]] = {
    **dict.fromkeys(("deployment.create", "deployment.rollback"), _of_deployment),
    **{f"deployment.{state}": _of_deployment for state in _ENDS},
    "deployment.catch-up": _of_task,
    "deployment.preview": _of_preview,
    **{f"preview.{state}": _of_preview for state in _ENDS},
    **dict.fromkeys(("task.cancel", "task.retry"), _of_task),
    "run.create": _of_run,
    **{f"{kind}.{state}": _of_run for kind in _RUNS - {TaskKind.PREVIEW} for state in _ENDS},
    **dict.fromkeys(("release.create", "release.delete"), _of_release),
    **dict.fromkeys(("project.create", "project.update", "project.delete"), _of_project("project")),
    "process.update": _of_project("process"),
    **dict.fromkeys(_VARIABLES_OF_PROJECT, _of_project("variables")),
    **dict.fromkeys(("environment.create", "environment.update", "environment.delete"), _of_environment),
    **dict.fromkeys(("package.push-complete", "package.delete"), _of_package),
    **{f"target.{verb}": _of_target for verb in _TARGET_CHANGES},
    "target.health": _of_health,
    **dict.fromkeys(("spoke.enrol", "spoke.approve", "spoke.revoke"), _of_spoke),
}

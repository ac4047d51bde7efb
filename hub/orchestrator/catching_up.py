"""What targets missed while they were away, they get by a deployment of their own when they are back.

    left out by a policy that catches up  ->  noted beside the task (missed.py)
    well again, and nothing of the project under way there  ->  the newest of those that succeeded, to it alone

Never older than what it has: what has gone to it since, by whomever, ends the matter; and so does disabling it.
"""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hub.acting import Itself
from hub.errors import HubError
from hub.events.record import SYSTEM, record
from hub.infrastructure.machine_policies import policy_of
from hub.orchestrator.submitting import HubAsking, Orchestrator
from hub.projects import releases, targeting
from hub.states import TASK_ENDED, Health, JobState, TaskKind, TaskState
from hub.storage.database import connection, write_tx
from hub.storage.models import Deployment, Environment, Job, MissedDeployment, Release, Target, Task, now_ms
from hub.storage.seals import RowSeals
from hub.storage.vault import Vault

logger = logging.getLogger(__name__)

_BACK = (Health.HEALTHY, Health.WARNING)


@dataclass(frozen=True, slots=True)
class CatchingUpParts:
    """What it stands on."""

    vault: Vault
    seals: RowSeals
    orchestrator: Orchestrator


class CatchingUp:
    """Swept by the engine."""

    def __init__(self, parts: CatchingUpParts) -> None:
        self._asking = HubAsking(parts.vault, parts.seals, {})
        self._orchestrator = parts.orchestrator

    def sweep(self) -> int:
        """Deploy to those who are back; how many deployments began."""
        with connection():
            waiting = _waiting()
        return sum(self._one(target, missed) for target, missed in waiting)

    def _one(self, target: Target, missed: Sequence[Deployment]) -> bool:
        """What a target missed of one project in one environment, the newest last."""
        if not _still_wanted(target, missed[0]):
            return self._forget(target, missed)
        if _under_way(missed[0]):
            return False
        wanted = next((found for found in reversed(missed) if _succeeded(found)), None)
        if wanted is None or _has_since(target, wanted):
            return self._forget(target, missed)
        return self._deploy(target, wanted, missed)

    def _deploy(self, target: Target, wanted: Deployment, missed: Sequence[Deployment]) -> bool:
        release, environment = Release.get_by_id(wanted.release), Environment.get_by_id(wanted.environment)
        place = {"project": wanted.project, "environment": wanted.environment}
        detail = {"target": target.name, "release": release.version, "missed": _id(wanted.task)}
        try:
            with write_tx():
                task = self._orchestrator.submit_deployment(
                    self._asking,
                    release=release,
                    environment=environment,
                    only_targets=[target.id],
                    skip_steps=self._others_steps(release, target),
                    instead_of=f"Catch up {target.name}:",
                )
                record("deployment.catch-up", f"task:{task.id}", actor=SYSTEM, detail=detail, **place)
                _forget(target, missed)
        except HubError as error:
            logger.warning("a target cannot catch up", extra={"target": target.name, "reason": error.detail})
            with write_tx():
                detail["reason"] = error.detail
                record(
                    "deployment.catch-up", f"target:{target.id}", actor=SYSTEM, outcome="failed", detail=detail, **place
                )
                _forget(target, missed)
            return False
        logger.info("a target catches up", extra={"target": target.name, "task": task.id})
        return True

    def _others_steps(self, release: Release, target: Target) -> list[str]:
        """Those that run on machines with other roles."""
        itself = Itself(now_ms(), self._asking.vault, self._asking.seals)
        process = releases.read_snapshot(itself, release)["process"]
        mine = set(target.roles)
        return [
            str(step["name"])
            for step in process
            if step["on"] != "hub" and step["roles"] and not mine & set(step["roles"])
        ]

    def _forget(self, target: Target, missed: Sequence[Deployment]) -> bool:
        with write_tx():
            _forget(target, missed)
        return False


def _waiting() -> list[tuple[Target, list[Deployment]]]:
    """Targets that are back or take no part any more, and by project and environment what they missed, oldest first."""
    rows: Any = (
        MissedDeployment.select(MissedDeployment.target, Deployment)
        .join(Deployment, on=(Deployment.task == MissedDeployment.task), attr="missed")
        .switch(MissedDeployment)
        .join(Target, on=(Target.id == MissedDeployment.target))
        .where(Target.disabled_at.is_null(False) | (Target.health << _BACK))
        .order_by(Deployment.created_at, Deployment.id)
    )
    found: dict[tuple[str, str, str], list[Deployment]] = defaultdict(list)
    for row in rows:
        found[(_id(row.target), _id(row.missed.project), _id(row.missed.environment))].append(row.missed)
    return [(Target.get_by_id(target), missed) for (target, _, _), missed in found.items()]


def _still_wanted(target: Target, missed: Deployment) -> bool:
    stands_there = missed.environment in targeting.environments_of(target)
    return target.disabled_at is None and stands_there and policy_of(target).catch_up


def _under_way(missed: Deployment) -> bool:
    open_tasks = Task.select().where(
        Task.project == missed.project,
        Task.environment == missed.environment,
        Task.kind == TaskKind.DEPLOYMENT,
        Task.state.not_in(list(TASK_ENDED)),
    )
    return bool(open_tasks.exists())


def _succeeded(missed: Deployment) -> bool:
    return bool(Task.get_by_id(_id(missed.task)).state is TaskState.SUCCEEDED)


def _has_since(target: Target, wanted: Deployment) -> bool:
    """Whether a later deployment, or this one, has reached it."""
    reached = (
        Deployment.select()
        .join(Job, on=(Job.task == Deployment.task))
        .where(
            Deployment.project == wanted.project,
            Deployment.environment == wanted.environment,
            Deployment.created_at >= wanted.created_at,
            Job.target == target.id,
            Job.state == JobState.SUCCEEDED,
        )
    )
    return bool(reached.exists())


def _forget(target: Target, missed: Sequence[Deployment]) -> None:
    tasks = [_id(found.task) for found in missed]
    MissedDeployment.delete().where(MissedDeployment.target == target.id, MissedDeployment.task.in_(tasks)).execute()


def _id(reference: Any) -> str:
    # A joined query fills in the row where the id stands otherwise.
    return str(getattr(reference, "id", reference))

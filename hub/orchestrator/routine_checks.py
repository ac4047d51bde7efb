"""Checks that the hub begins by itself: spread over their interval, few at once, and never instead of other work.

    due (target_care.due_at)  ->  a task of the kind health-check  ->  check_results  ->  due again

A check takes no job's place at its spoke. A policy's script does take one, so it waits while its target has work.
"""

import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from peewee import JOIN, fn

from hub.errors import HubError
from hub.infrastructure.machine_policies import DEFAULT, policies_of
from hub.infrastructure.target_health import care_of, check_says
from hub.orchestrator.check_results import is_routine_task
from hub.orchestrator.submitting import HubAsking, Orchestrator
from hub.states import JOB_OPEN, TASK_ENDED, Health, JobState, TargetKind
from hub.storage.database import connection, write_tx
from hub.storage.models import Job, MachinePolicy, SpokeSession, Target, TargetCare, Task
from hub.storage.seals import RowSeals
from hub.storage.vault import Vault
from runner.contract.step_kind import StepKind

logger = logging.getLogger(__name__)

AT_ONCE = 10
_BUSY_MS = 30_000
_KEPT_MS = 6 * 3600 * 1000
_REMOVED_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class CheckParts:
    """What the schedule stands on. `step_kinds` as the newest runner announces them."""

    vault: Vault
    seals: RowSeals
    orchestrator: Orchestrator
    step_kinds: Callable[[], Mapping[str, StepKind]]
    clock_ms: Callable[[], int]
    chance: Callable[[], float] = random.random


class RoutineChecks:
    """Swept every second by the engine."""

    def __init__(self, parts: CheckParts) -> None:
        self._parts = parts

    def sweep(self) -> int:
        """Begin what is due, as far as there is room; how many began."""
        now_ms = self._parts.clock_ms()
        with connection():
            room = AT_ONCE - _under_way()
            due = self._due(now_ms, room) if room > 0 else []
        return sum(self._begin(row, policy, now_ms) for row, policy in due)

    def tidy(self) -> None:
        """Checks of the past are nobody's history: their targets say how they are."""
        with write_tx():
            old: Any = (
                Task.select(Task.id)
                .where(
                    is_routine_task(),
                    Task.state.in_(list(TASK_ENDED)),
                    Task.ended_at < self._parts.clock_ms() - _KEPT_MS,
                )
                .limit(_REMOVED_AT_ONCE)
                .tuples()
            )
            Task.delete().where(Task.id.in_([task for (task,) in old])).execute()

    def _due(self, now_ms: int, room: int) -> list[tuple[Target, MachinePolicy]]:
        rows = list(
            _checkable()
            .where(TargetCare.due_at.is_null() | (TargetCare.due_at <= now_ms))
            .order_by(fn.COALESCE(TargetCare.due_at, 0), Target.name)
        )
        policies = policies_of(rows)
        return [(row, policies[row.id]) for row in rows if row.endpoint.get("host_key") != ""][:room]

    def _begin(self, row: Target, policy: MachinePolicy, now_ms: int) -> bool:
        if policy.script and _has_work(row):
            with write_tx():
                _set_due(row, now_ms + _BUSY_MS)
            return False
        parts = self._parts
        try:
            kinds = parts.step_kinds() if policy.script else {}
            with write_tx():
                task = parts.orchestrator.submit_check(HubAsking(parts.vault, parts.seals, kinds), row)
                _set_due(row, now_ms + self._spread(row, policy), task.id)
        except HubError as error:
            logger.warning("target not checked", extra={"target": row.name, "reason": error.detail})
            with write_tx():
                check_says(row, Health.UNHEALTHY, error.detail, now_ms)
                _set_due(row, now_ms + self._spread(row, policy))
            return False
        return True

    def _spread(self, row: Target, policy: MachinePolicy) -> int:
        """Up to an interval; the first time anywhere in it, so that what came together does not stay together."""
        least = 0.75 if care_of(row.id).checked_at else 0.1
        return int(policy.interval_s * 1000 * (least + (1 - least) * self._parts.chance()))


def _checkable() -> Any:
    """Targets that take part, whose spoke is there, and of which heartbeats do not say enough."""
    scripts = [row.id for row in MachinePolicy.select() if row.script]
    default = MachinePolicy.get_or_none(MachinePolicy.name == DEFAULT)
    wanted = (Target.kind == TargetKind.SSH) | TargetCare.policy.in_(scripts)
    if default is not None and default.script:
        wanted |= TargetCare.policy.is_null()
    live = SpokeSession.select(SpokeSession.spoke).where(SpokeSession.live, SpokeSession.valid_until.is_null())
    return (
        Target.select()
        .join(TargetCare, JOIN.LEFT_OUTER, on=(TargetCare.target == Target.id))
        .where(Target.disabled_at.is_null(), Target.spoke << live, wanted)
    )


def _under_way() -> int:
    return int(Task.select().where(is_routine_task(), Task.state.not_in(list(TASK_ENDED))).count())


def _has_work(row: Target) -> bool:
    open_jobs = Job.select().where(Job.target == row.id, Job.state.in_(JOB_OPEN - {JobState.PLANNED}))
    return bool(open_jobs.exists())


def _set_due(row: Target, due_ms: int, task: str | None = None) -> None:
    care_of(row.id)
    columns: dict[str, Any] = {"due_at": due_ms} | ({"task": task} if task else {})
    TargetCare.update(columns).where(TargetCare.target == row.id).execute()

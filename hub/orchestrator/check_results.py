"""What the end of a health check means for its target: the words of the result become the reason of its health."""

from typing import Any

from peewee import fn

from hub.events.record import SYSTEM, record
from hub.infrastructure.host_keys import CHANGED
from hub.infrastructure.machine_policies import policy_of
from hub.infrastructure.target_health import check_by, check_says
from hub.orchestrator import out_of_reach, task_log
from hub.states import Health, JobState, TaskKind
from hub.storage.models import Job, OutputVariable, Target, Task
from hub.storage.vault import Vault

ROUTINE = "system"
"""Whom a task names that the hub began by itself."""
CHECK_STEP = "Check"
SCRIPT_STEP = "Health script"
HEALTH_OUTPUT = "health"
_REASON_MAX = 500
# What is not well is looked at again before its interval is over.
_AGAIN_S = 300
_WAITED_FOR_S = 15
# Nothing was heard of the machine; that is no word about what it is like.
_SILENT = frozenset({JobState.EXPIRED, JobState.UNKNOWN, JobState.REVOKED})
# The check did not take place.
_NO_ANSWER = frozenset({JobState.CANCELLED, JobState.SKIPPED})


def is_routine_task() -> Any:
    """Of a row of `task`, in a query."""
    return (Task.kind == TaskKind.HEALTH_CHECK) & (fn.COALESCE(Task.created_by, "") == ROUTINE)


def is_routine(task: Task) -> bool:
    return task.kind is TaskKind.HEALTH_CHECK and task.created_by == ROUTINE


def note(vault: Vault, task: Task, now_ms: int) -> None:
    """Inside the transaction in which the task ended."""
    jobs = list(Job.select().where(Job.task == task.id).order_by(Job.step_index, Job.attempt))
    row = Target.get_or_none(Target.id == jobs[0].target) if jobs else None
    if row is None:
        return
    found = _found(vault, jobs)
    if found is None:
        return
    before, (health, reason) = row.health, found
    if health is not Health.HEALTHY:
        again_s = _WAITED_FOR_S if out_of_reach.is_waited_for(row) else _AGAIN_S
        check_by(row, now_ms + min(again_s, policy_of(row).interval_s) * 1000)
    if health is not Health.UNAVAILABLE:
        out_of_reach.release(row)
    if check_says(row, health, reason[:_REASON_MAX], now_ms) and health is not before:
        detail = {"name": row.name, "from": str(before), "to": str(health), "reason": reason[:_REASON_MAX]}
        record("target.health", f"target:{row.id}", actor=SYSTEM, detail=detail)


def _found(vault: Vault, jobs: list[Job]) -> tuple[Health, str] | None:
    """The health and its reason; None where the check says nothing."""
    found: tuple[Health, str] | None = None
    for job in jobs:
        said = _of_script(vault, job) if job.step == SCRIPT_STEP else _of_connecting(job)
        if said is None:
            continue
        if said[0] is not Health.HEALTHY:
            return said
        found = said if found is None else found
    return found


def _of_connecting(job: Job) -> tuple[Health, str] | None:
    if job.state in _NO_ANSWER or job.message.startswith(CHANGED):
        return None  # A changed key has disabled the target, with both fingerprints as the reason.
    if job.state in _SILENT:
        return Health.UNAVAILABLE, job.message
    said = OutputVariable.get_or_none(OutputVariable.job == job.id, OutputVariable.name == HEALTH_OUTPUT)
    word = said.value if said is not None and not said.secret else ""
    if job.state is JobState.SUCCEEDED:
        return (Health.WARNING, job.message) if word == Health.WARNING else (Health.HEALTHY, "")
    return (Health.UNAVAILABLE if word == Health.UNAVAILABLE else Health.UNHEALTHY), job.message


def _of_script(vault: Vault, job: Job) -> tuple[Health, str] | None:
    """Its exit code, its word `fail`, and its words `warn`."""
    if job.state in _NO_ANSWER:
        return None
    if job.state in _SILENT:
        return Health.UNAVAILABLE, f"health script: {job.message}"
    if job.state is not JobState.SUCCEEDED:
        words = job.message or ("it failed" if job.exit_code is None else f"exit code {job.exit_code}")
        return Health.UNHEALTHY, f"health script: {words}"
    warned, _ = task_log.read(vault, _task(job), step=job.step, target=job.target_name, level="warning", limit=3)
    if warned:
        return Health.WARNING, f"health script: {'; '.join(line.text.strip() for line in warned)}"
    return Health.HEALTHY, ""


def _task(job: Job) -> str:
    task: Any = job.task
    return str(getattr(task, "id", task))

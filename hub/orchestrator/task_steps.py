"""A task as its jobs' rows tell it: steps, and each target in them. Needs no plan, so any process may ask."""

from typing import Any

from hub.orchestrator.states import FAILED_JOBS, StepState
from hub.states import JOB_OPEN, JobState
from hub.storage.models import Job


def task_steps(task_id: str) -> list[dict[str, Any]]:
    """Steps in order, each with its state and its targets by name, the last attempt of each."""
    rows: Any = (
        Job.select(
            Job.step_index,
            Job.step,
            Job.target_name,
            Job.state,
            Job.exit_code,
            Job.message,
            Job.started_at,
            Job.ended_at,
            Job.log_state,
        )
        .where(Job.task == task_id)
        .order_by(Job.step_index, Job.target_name, Job.attempt)
        .dicts()
    )
    steps: dict[int, dict[str, Any]] = {}
    for row in rows:
        step = steps.setdefault(row["step_index"], {"name": row["step"], "targets": {}})
        step["targets"][row["target_name"]] = {
            "name": row["target_name"],
            "state": row["state"],
            "exit_code": row["exit_code"],
            "message": row["message"],
            "started_at": row["started_at"],
            "ended_at": row["ended_at"],
            "log": row["log_state"],
        }
    return [
        {
            "name": step["name"],
            "state": step_state([target["state"] for target in step["targets"].values()]),
            "targets": list(step["targets"].values()),
        }
        for _, step in sorted(steps.items())
    ]


def step_state(jobs: list[JobState]) -> StepState:
    """What a step's jobs make of it."""
    found = set(jobs)
    if found == {JobState.PLANNED}:
        return StepState.PENDING
    if found & JOB_OPEN:
        return StepState.RUNNING
    if found & FAILED_JOBS:
        return StepState.FAILED
    for job, step in _ENDS:
        if job in found:
            return step
    return StepState.SUCCEEDED if JobState.SUCCEEDED in found else StepState.SKIPPED


_ENDS = ((JobState.UNKNOWN, StepState.UNKNOWN), (JobState.CANCELLED, StepState.CANCELLED))

"""PURE. Where a task stands: the state that `advance` takes and gives, and its JSON form for the row."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from hub.orchestrator.plan import DeploymentPlan
from hub.orchestrator.states import StepState
from hub.states import JobState, TaskState


@dataclass(frozen=True, slots=True)
class JobProgress:
    """`attempt` counts from 1; `deadline_ms` is 0 where nothing is open.

    `late`: nobody said in time that it was taken, and its spoke was told to leave it.
    """

    state: JobState = JobState.PLANNED
    attempt: int = 1
    deadline_ms: int = 0
    late: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """`jobs` by id of the first attempt; a job that is not in it is planned.

    `step` and `batch`: the present ones; `open`: how many jobs of the present batch have not ended.
    `alarm_ms`: when the deadline timer is set to fire, 0 for not at all.
    `troubles`: every end other than success that a job came to. `ended_processes`: of all jobs that were stopped.
    `restored`: it is left to reckoning.py, for the hub was put back to an earlier state.
    """

    state: TaskState = TaskState.QUEUED
    steps: tuple[StepState, ...] = ()
    step: int = 0
    batch: int = 0
    open: int = 0
    jobs: Mapping[str, JobProgress] = field(default_factory=dict)
    alarm_ms: int = 0
    cancelled_by: str = ""
    overdue: bool = False
    revoked: frozenset[str] = frozenset()
    troubles: frozenset[JobState] = frozenset()
    failure: str = ""
    ended_processes: int = 0
    restored: bool = False


def beginning(plan: DeploymentPlan) -> Progress:
    """Where a task stands before its turn."""
    return Progress(steps=(StepState.PENDING,) * len(plan.steps))


def encode_progress(progress: Progress) -> str:
    """Compact JSON: a job is `[state, attempt, deadline]`, and true behind them if it is late."""
    return json.dumps(
        {
            "state": progress.state,
            "steps": progress.steps,
            "at": [progress.step, progress.batch, progress.open],
            "jobs": {
                key: [job.state, job.attempt, job.deadline_ms, *([True] if job.late else [])]
                for key, job in progress.jobs.items()
            },
            "alarm_ms": progress.alarm_ms,
            "cancelled_by": progress.cancelled_by,
            "overdue": progress.overdue,
            "revoked": sorted(progress.revoked),
            "troubles": sorted(progress.troubles),
            "failure": progress.failure,
            "ended_processes": progress.ended_processes,
            "restored": progress.restored,
        },
        separators=(",", ":"),
    )


def decode_progress(text: str) -> Progress:
    found = json.loads(text)
    step, batch, opened = found["at"]
    return Progress(
        state=TaskState(found["state"]),
        steps=tuple(StepState(state) for state in found["steps"]),
        step=step,
        batch=batch,
        open=opened,
        jobs={key: JobProgress(JobState(state), *rest) for key, (state, *rest) in found["jobs"].items()},
        alarm_ms=found["alarm_ms"],
        cancelled_by=found["cancelled_by"],
        overdue=found["overdue"],
        revoked=frozenset(found["revoked"]),
        troubles=frozenset(JobState(state) for state in found["troubles"]),
        failure=found["failure"],
        ended_processes=found.get("ended_processes", 0),
        restored=found.get("restored", False),
    )

"""PURE. The states of steps and conditions, and which states of jobs mean what to a task."""

from enum import StrEnum

from hub.states import JOB_ENDED, JobState


class StepState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"  # Shown of one whose jobs no engine looks after.
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


class Condition(StrEnum):
    """When a step runs: if all before it went well, if something failed, or in any case."""

    SUCCESS = "success"
    FAILURE = "failure"
    ALWAYS = "always"


# planned → sent (waiting for the spoke's session, or on its way) → accepted → running → one final state
OPEN_JOBS = frozenset({JobState.SENT, JobState.ACCEPTED, JobState.RUNNING})
# What a retry may mend: the work was begun and went wrong, and its end is known.
RETRIED_JOBS = frozenset({JobState.FAILED, JobState.TIMED_OUT})
FAILED_JOBS = frozenset({JobState.FAILED, JobState.TIMED_OUT, JobState.EXPIRED, JobState.REFUSED, JobState.REVOKED})
# How a job that was sent can end.
ENDS = JOB_ENDED - {JobState.SKIPPED}

"""A task as its jobs' rows tell it: steps, and each target in them. Needs no plan, so any process may ask."""

from collections.abc import Mapping
from typing import Any

from hub.orchestrator.log_records import gaps_from_json, missing_words
from hub.orchestrator.missing_logs import fetches_of, words
from hub.orchestrator.states import FAILED_JOBS, OPEN_JOBS, StepState
from hub.orchestrator.waits import is_unattended
from hub.states import JOB_OPEN, FetchState, JobState
from hub.storage.models import Job, LogFetch


def task_steps(task_id: str, now_ms: int = 0) -> list[dict[str, Any]]:
    """Steps in order, each with its state and its targets by name, the last attempt of each.

    A job that nobody looks after at this moment waits, whatever its row says.
    """
    rows: Any = (
        Job.select(
            Job.id,
            Job.attempt,
            Job.step_index,
            Job.step,
            Job.target_name,
            Job.state,
            Job.exit_code,
            Job.message,
            Job.started_at,
            Job.ended_at,
            Job.deadline_at,
            Job.run_deadline_at,
            Job.gives_up_at,
            Job.ended_processes,
            Job.survivors,
            Job.log_state,
            Job.log_next_record,
            Job.log_chain,
            Job.log_bytes,
            Job.log_gaps,
            Job.records,
            Job.chain,
        )
        .where(Job.task == task_id)
        .order_by(Job.step_index, Job.target_name, Job.attempt)
        .dicts()
    )
    found = list(rows)
    fetches = fetches_of(row["id"] for row in found if row["log_gaps"])
    steps: dict[int, dict[str, Any]] = {}
    for row in found:
        step = steps.setdefault(row["step_index"], {"name": row["step"], "targets": {}})
        former = step["targets"].get(row["target_name"], {"logs": []})
        step["targets"][row["target_name"]] = {
            "name": row["target_name"],
            "state": _shown_state(row, now_ms),
            "exit_code": row["exit_code"],
            "message": row["message"],
            "started_at": row["started_at"],
            "ended_at": row["ended_at"],
            "pickup_deadline": row["deadline_at"] if row["state"] is JobState.SENT else None,
            "run_deadline": row["run_deadline_at"] if row["state"] is JobState.RUNNING else None,
            "ended_processes": row["ended_processes"],
            "survivors": row["survivors"] or [],
            "log": row["log_state"],
            "logs": [*former["logs"], job_log(row, fetches.get(row["id"]))],
        }
    return [
        {
            "name": step["name"],
            "state": step_state([target["state"] for target in step["targets"].values()]),
            "targets": list(step["targets"].values()),
        }
        for _, step in sorted(steps.items())
    ]


def _shown_state(row: Mapping[str, Any], now_ms: int) -> JobState:
    is_open = row["state"] in OPEN_JOBS and row["gives_up_at"] is not None
    return JobState.WAITING if is_open and is_unattended(row["gives_up_at"], now_ms) else row["state"]


def job_log(row: Mapping[str, Any], fetch: LogFetch | None) -> dict[str, Any]:
    """What came of one attempt's log, and whether it is what the outcome names.

    The digest is the chain value behind the last record: it stands for every byte before it, so there is none where
    something is missing.
    """
    gaps = gaps_from_json(row["log_gaps"])
    names_spool = row["records"] is not None and (row["records"] > 0 or row["log_next_record"] == 0)
    return {
        "attempt": row["attempt"],
        "state": row["log_state"],
        "records": row["log_next_record"] - sum(gap.last + 1 - gap.first for gap in gaps),
        "bytes": row["log_bytes"],
        "digest": None if gaps else row["log_chain"],
        "outcome_digest": row["chain"] if names_spool else None,
        "agrees": (not gaps and row["log_chain"] == row["chain"]) if names_spool else None,
        "missing": [list(gap.span) for gap in gaps],
        "missing_words": missing_words([gap.span for gap in gaps]) if gaps else "",
        "fetch": words(fetch) if fetch is not None else "",
        "fetch_until": fetch.deadline_at if fetch is not None and fetch.state is FetchState.OPEN else None,
    }


def step_state(jobs: list[JobState]) -> StepState:
    """What a step's jobs make of it."""
    found = set(jobs)
    if found == {JobState.PLANNED}:
        return StepState.PENDING
    if found & JOB_OPEN == {JobState.WAITING}:
        return StepState.WAITING
    if found & JOB_OPEN:
        return StepState.RUNNING
    if found & FAILED_JOBS:
        return StepState.FAILED
    for job, step in _ENDS:
        if job in found:
            return step
    return StepState.SUCCEEDED if JobState.SUCCEEDED in found else StepState.SKIPPED


_ENDS = ((JobState.UNKNOWN, StepState.UNKNOWN), (JobState.CANCELLED, StepState.CANCELLED))

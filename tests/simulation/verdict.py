"""The verdict over a history that has come to its end: what was promised, and what really happened on the machines."""

from collections.abc import Sequence

from hub.states import TASK_ENDED, JobState
from tests.simulation.hub_rows import JobRow, Rows
from tests.simulation.machine_model import Machine, chain_before
from tests.simulation.spoke_model import Spoke


def wrongs(rows: Rows, spokes: Sequence[Spoke], *, excused: bool, deaf: bool) -> list[str]:
    """Every promise that was broken, in words.

    Args:
        rows: What the hub says.
        spokes: With the machines, which know.
        excused: So much went wrong that the end of a job may be out of anybody's sight.
        deaf: An engine that began behind its own past takes nothing from sessions of before.
    """
    if rows.progress.state not in TASK_ENDED:
        return [f"the task never ended: {rows.progress.state}, {rows.timers}"]
    machines = {spoke.name: spoke.machine for spoke in spokes}
    wrong: list[str] = []
    for spoke in spokes:
        wrong += [f"{cid} was started {len(at)} times" for cid, at in spoke.machine.starts.items() if len(at) > 1]
        wrong += [
            f"{cid} was never reported"
            for cid, entry in spoke.journal.items()
            if not entry.reported and spoke.name not in rows.revoked
        ]
    for cid, job in rows.jobs.items():
        wrong += [f"{cid}: {words}" for words in _job_wrongs(cid, job, machines[job.spoke], rows, excused=excused)]
        if job.records is not None and job.spoke not in rows.revoked:
            gone = deaf or machines[job.spoke].spools_gone
            wrong += [f"{cid}: {words}" for words in _log_wrongs(job, may_miss=gone)]
    if not deaf:
        wrong += [f"{cid}: its log is never done" for cid, one in rows.fetches.items() if one.state == "open"]
    return wrong + _order_wrongs(rows, machines)


def _job_wrongs(cid: str, job: JobRow, machine: Machine, rows: Rows, *, excused: bool) -> list[str]:
    run, started = machine.runs.get(cid), cid in machine.starts
    wrong: list[str] = []
    if job.state in (JobState.EXPIRED, JobState.REFUSED, JobState.UNKNOWN) and not excused:
        wrong.append(f"it is {job.state}, and nothing had gone wrong for long")
    if cid in machine.too_late:
        wrong.append("it was started past its expiry")
    match job.state:
        case JobState.SUCCEEDED | JobState.FAILED | JobState.TIMED_OUT:
            # What was taken unheard and stopped again has failed.
            stopped = job.state is JobState.FAILED and run is not None and run.state == "cancelled"
            promised = job.state is JobState.FAILED and cid in machine.claimed and not started
            if promised:
                return wrong
            if run is None or (run.state != job.state and not stopped):
                wrong.append(f"the hub says {job.state}, the machine {run.state if run else 'that it never ran'}")
        case JobState.CANCELLED:
            if started and (run is None or run.state != "cancelled"):
                wrong.append(f"the hub says cancelled, the machine {run.state if run else 'started'}")
        case JobState.PLANNED if rows.was_restored and cid not in _firsts(rows):
            # Whether it was tried again is forgotten, and the first attempt says that nobody knows.
            pass
        case JobState.EXPIRED | JobState.REFUSED | JobState.SKIPPED | JobState.PLANNED:
            if started:
                wrong.append(f"the hub says {job.state}, and it was started")
        case JobState.UNKNOWN:
            pass
        case JobState.REVOKED:
            if job.spoke not in rows.revoked:
                wrong.append("it is revoked, and its spoke is not")
        case _:
            wrong.append(f"the task is over and it is {job.state}")
    return wrong


def _firsts(rows: Rows) -> set[str]:
    return {job.id for step in rows.plan.steps for job in step.jobs}


def _log_wrongs(job: JobRow, *, may_miss: bool) -> list[str]:
    wrong: list[str] = []
    if len(set(job.lines)) != len(job.lines):
        wrong.append(f"lines came twice: {job.lines}")
    missing = {number for gap in job.cursor.gaps for number in range(gap.first, gap.last + 1)}
    assert job.records is not None
    if missing | set(job.lines) != set(range(job.records)) or missing & set(job.lines):
        wrong.append(f"of {job.records} records {sorted(job.lines)} came and {sorted(missing)} are said to be missing")
    if missing and not may_miss:
        wrong.append(f"records {sorted(missing)} are missing")
    if not missing and job.cursor.chain != chain_before(job.records):
        wrong.append("its digest is not the outcome's")
    if job.cursor.differs:
        wrong.append("its log does not follow on")
    return wrong


def _order_wrongs(rows: Rows, machines: dict[str, Machine]) -> list[str]:
    """A later attempt, batch or step never starts beside an earlier one of which nobody knows how it ended."""
    wrong: list[str] = []
    for step in rows.plan.steps:
        for job in step.jobs:
            for earlier, later in zip(job.attempts, job.attempts[1:], strict=False):
                wrong += _beside(machines[job.target.spoke], earlier, machines[job.target.spoke], later)
        for batch, following in zip(step.batches, step.batches[1:], strict=False):
            wrong += [
                words
                for one in batch
                for other in following
                if rows.jobs[one.attempts[-1]].state not in (JobState.UNKNOWN, JobState.REVOKED)
                for words in _beside(
                    machines[one.target.spoke], one.attempts[0], machines[other.target.spoke], other.attempts[0]
                )
            ]
    return wrong


def _beside(machine: Machine, earlier: str, other: Machine, later: str) -> list[str]:
    run, next_run = machine.runs.get(earlier), other.runs.get(later)
    if run is not None and next_run is not None and next_run.started_ms < run.ends_ms:
        return [f"{later} was started while {earlier} ran"]
    return []

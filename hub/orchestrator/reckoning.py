"""PURE. A task that was under way when its hub was put back to an earlier state, and what may have happened since.

Nothing more of it begins here. Whatever may have been sent in the time that the hub forgot is open until its spoke has
said what became of it; what nobody says is unknown. What runs there runs on. `advance` leaves such tasks to this.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from hub.orchestrator.effects import (
    DropTimer,
    Effect,
    Level,
    Say,
    SendCancel,
    SetDeadline,
    SetJob,
    SetStep,
    SetTask,
    SetTimer,
    SkipJobs,
)
from hub.orchestrator.events import (
    DEADLINE_TIMER,
    QUEUE_TIMER,
    TASK_TIMER,
    CancelAsked,
    Event,
    HubRestored,
    JobAccepted,
    JobEnded,
    JobStarted,
    SpokeRevoked,
    TimerFired,
)
from hub.orchestrator.plan import DeploymentPlan, PlannedJob
from hub.orchestrator.standing import JobProgress, Progress
from hub.orchestrator.states import ENDS, FAILED_JOBS, OPEN_JOBS, RETRIED_JOBS, Condition, StepState
from hub.states import JOB_ENDED, TASK_ENDED, JobState, TaskState

# A spoke that is there answers within seconds; one that is switched off for the night does not.
ANSWER_MS = 3_600_000
REPORT_MARGIN_MS = 60_000

NEVER_CAME = "it had not begun when the hub was restored, and never will"
UNHEARD = "the hub was restored from a backup, and its spoke did not say what became of it"
TRIED_AGAIN = "whether it was tried again before the hub was restored, nobody knows"

_PLANNED = JobProgress()
_STEP_ENDED = frozenset(StepState) - {StepState.PENDING, StepState.RUNNING}


def reckon(
    plan: DeploymentPlan, progress: Progress, events: Iterable[Event], now_ms: int
) -> tuple[Progress, tuple[Effect, ...]]:
    """The state after these events, and their effects."""
    turn = _Reckoning(plan, progress, now_ms)
    for event in events:
        turn.take(event)
    return turn.result()


class _Reckoning:
    """One working copy of a task's state."""

    def __init__(self, plan: DeploymentPlan, progress: Progress, now_ms: int) -> None:
        self._plan = plan
        self._before = progress
        self._now_ms = now_ms
        self._effects: list[Effect] = []
        self._state = progress.state
        self._steps = list(progress.steps)
        self._jobs = dict(progress.jobs)
        self._restored = progress.restored
        self._alarm_ms = progress.alarm_ms
        self._failure = progress.failure
        self._troubles = progress.troubles

    def take(self, event: Event) -> None:
        if self._state in TASK_ENDED:
            return
        match event:
            case HubRestored(words):
                self._begin(words)
            case JobAccepted(job):
                self._goes_on(job, JobState.ACCEPTED)
            case JobStarted(job):
                self._goes_on(job, JobState.RUNNING)
            case JobEnded():
                self._job_ended(event)
            case TimerFired(name) if name == DEADLINE_TIMER:
                self._deadlines_passed()
            case SpokeRevoked(spoke):
                self._spoke_revoked(spoke)
            case CancelAsked(by):
                self._cancel(by)
        if self._restored and self._state not in TASK_ENDED and not any(self._open()):
            self._finish()

    def result(self) -> tuple[Progress, tuple[Effect, ...]]:
        ended = self._state in TASK_ENDED
        progress = replace(
            self._before,
            state=self._state,
            steps=tuple(self._steps),
            step=len(self._steps) if ended else self._before.step,
            open=0 if ended else sum(1 for _ in self._open()),
            jobs=self._jobs,
            alarm_ms=self._alarm_ms,
            troubles=self._troubles,
            failure=self._failure,
            restored=self._restored,
        )
        return progress, tuple(self._effects)

    # What happens

    def _begin(self, words: str) -> None:
        if self._restored:
            return
        self._restored = True
        self._state = TaskState.CANCELLING
        self._effects += [DropTimer(QUEUE_TIMER), DropTimer(TASK_TIMER), DropTimer(DEADLINE_TIMER)]
        self._effects += [SetTask(TaskState.CANCELLING, words), Say(Level.WARNING, words)]
        self._failure = self._failure or words
        self._alarm_ms = 0
        for planned in self._unsettled():
            job = self._job(planned)
            if job.state is JobState.PLANNED:
                self._effects.append(SetJob(planned.attempts[0], JobState.SENT))
            self._wait(planned, replace(job, state=_open_state(job.state), late=False), ANSWER_MS)

    def _goes_on(self, cid: str, state: JobState) -> None:
        found = self._present(cid)
        if found is None or found[1].state not in (JobState.SENT, JobState.ACCEPTED) or found[1].state is state:
            return
        planned, job = found
        step = self._plan.step_of(planned)
        run_ms = (step.limits.wall_s + step.grace_s) * 1000 + REPORT_MARGIN_MS
        self._effects.append(SetJob(cid, state))
        wait_ms = run_ms if state is JobState.RUNNING else step.prepare_s * 1000 + run_ms
        self._wait(planned, replace(job, state=state), wait_ms)

    def _job_ended(self, event: JobEnded) -> None:
        found = self._present(event.job)
        if found is None or found[1].state not in OPEN_JOBS or event.state not in ENDS:
            return
        planned, job = found
        state, message = event.state, event.message
        if state in RETRIED_JOBS and job.attempt < len(planned.attempts):
            state, message = JobState.UNKNOWN, _both(f"{state} at the attempt that is known", TRIED_AGAIN)
        elif state is JobState.CANCELLED and not event.began:
            message = NEVER_CAME
        self._end(planned, job, state, message, event.exit_code)

    def _deadlines_passed(self) -> None:
        self._alarm_ms = 0
        for planned in list(self._open()):
            job = self._job(planned)
            if job.deadline_ms <= self._now_ms:
                self._end(planned, job, JobState.UNKNOWN, UNHEARD)
        waiting = [self._job(planned).deadline_ms for planned in self._open()]
        if waiting:
            self._wake_at(min(waiting))

    def _spoke_revoked(self, spoke: str) -> None:
        for planned in list(self._open()):
            if planned.target.spoke == spoke:
                self._end(planned, self._job(planned), JobState.REVOKED, "its spoke is not trusted any more")

    def _cancel(self, by: str) -> None:
        self._effects.append(Say(Level.WARNING, f"{by} asked to cancel what may still run"))
        for planned in self._open():
            self._effects.append(SendCancel(planned.attempts[self._job(planned).attempt - 1], f"cancelled by {by}"))

    # What follows

    def _end(
        self, planned: PlannedJob, job: JobProgress, state: JobState, message: str, exit_code: int | None = None
    ) -> None:
        self._effects.append(SetJob(planned.attempts[job.attempt - 1], state, exit_code, message))
        self._jobs[planned.id] = JobProgress(state, job.attempt)
        step = self._plan.step_of(planned)
        # Nobody meant a step for failures to run where nothing failed.
        if state is not JobState.SUCCEEDED and not (
            state is JobState.CANCELLED and step.condition is Condition.FAILURE
        ):
            self._troubles |= {state}
        words = f"{state}: {message}" if message else str(state)
        self._effects.append(Say(Level.INFO, f"{planned.target.name}: {words}", step.name, planned.target.name))

    def _finish(self) -> None:
        for step in self._plan.steps:
            if self._steps[step.index] in _STEP_ENDED:
                continue
            state = _step_outcome({self._job(planned).state for planned in step.jobs})
            self._steps[step.index] = state
            self._effects += [SetStep(step.index, state), SkipJobs(step.index)]
        self._state, self._alarm_ms = self._outcome(), 0
        failure = "" if self._state is TaskState.SUCCEEDED else self._failure
        self._effects += [DropTimer(DEADLINE_TIMER), SetTask(self._state, failure)]
        words = f"as far as the spokes say, the task is {self._state}"
        self._effects.append(Say(Level.INFO if self._state is TaskState.SUCCEEDED else Level.WARNING, words))

    def _outcome(self) -> TaskState:
        if self._troubles & FAILED_JOBS:
            return TaskState.FAILED
        if JobState.UNKNOWN in self._troubles:
            return TaskState.UNKNOWN
        return TaskState.CANCELLED if JobState.CANCELLED in self._troubles else TaskState.SUCCEEDED

    # Small change

    def _unsettled(self) -> Iterator[PlannedJob]:
        """Every job that may have begun since."""
        for step in self._plan.steps:
            if self._steps[step.index] not in _STEP_ENDED:
                yield from (planned for planned in step.jobs if self._job(planned).state not in JOB_ENDED)

    def _open(self) -> Iterator[PlannedJob]:
        return (planned for planned in self._unsettled() if self._job(planned).state in OPEN_JOBS)

    def _present(self, cid: str) -> tuple[PlannedJob, JobProgress] | None:
        found = self._plan.attempts.get(cid)
        if found is None:
            return None
        job = self._job(found[0])
        return (found[0], job) if job.attempt == found[1] else None

    def _job(self, planned: PlannedJob) -> JobProgress:
        return self._jobs.get(planned.id, _PLANNED)

    def _wait(self, planned: PlannedJob, job: JobProgress, time_ms: int) -> None:
        deadline_ms = self._now_ms + time_ms
        self._jobs[planned.id] = replace(job, deadline_ms=deadline_ms)
        self._effects.append(SetDeadline(planned.attempts[job.attempt - 1], deadline_ms))
        self._wake_at(deadline_ms)

    def _wake_at(self, due_ms: int) -> None:
        if self._alarm_ms == 0 or due_ms < self._alarm_ms:
            self._alarm_ms = due_ms
            self._effects.append(SetTimer(DEADLINE_TIMER, due_ms))


def _open_state(state: JobState) -> JobState:
    return state if state in OPEN_JOBS else JobState.SENT


def _step_outcome(found: set[JobState]) -> StepState:
    if found & FAILED_JOBS:
        return StepState.FAILED
    if JobState.UNKNOWN in found:
        return StepState.UNKNOWN
    if found <= {JobState.SUCCEEDED}:
        return StepState.SUCCEEDED
    return StepState.SKIPPED if found <= {JobState.CANCELLED, JobState.PLANNED} else StepState.CANCELLED


def _both(first: str, second: str) -> str:
    return f"{first}; {second}"

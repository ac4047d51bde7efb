"""PURE. `advance`: what a task's next state is, and what follows, when something happens. No I/O, no clock, no chance.

Steps run in order; a step's batches one after the other; the jobs of a batch at once. A job that fails is tried again
as often as its step allows; then the batch goes on to its end, the rest of the step is skipped, and later steps run
only if their condition is `failure` or `always`. After a cancel nothing more begins. Every open job has a deadline;
one timer carries the earliest. Any event in any state has an answer: what comes late or twice changes nothing.
"""

from collections.abc import Iterable

from hub.orchestrator.effects import (
    DropJob,
    DropTimer,
    Effect,
    ExpireJob,
    Level,
    Say,
    SendCancel,
    SendJob,
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
    JobExpired,
    JobRenewed,
    JobStarted,
    SpokeRevoked,
    Started,
    TimerFired,
)
from hub.orchestrator.plan import DeploymentPlan, PlannedJob, PlannedStep
from hub.orchestrator.reckoning import reckon
from hub.orchestrator.standing import JobProgress, Progress
from hub.orchestrator.states import ENDS, FAILED_JOBS, OPEN_JOBS, RETRIED_JOBS, Condition, StepState
from hub.states import JOB_ENDED, TASK_ENDED, JobState, TaskState

# After its own limits a job has this long to report: the network, a restarted spoke, the supervisor's last words.
REPORT_MARGIN_MS = 60_000
# The spoke may accept in the last moment, and its word takes time.
EXPIRY_MARGIN_MS = 15_000
# After that only its spoke knows; it is told to leave the job, and has this long to answer.
LATE_MARGIN_MS = 15_000
CANCEL_MARGIN_MS = 60_000

_PLANNED = JobProgress()


def advance(plan: DeploymentPlan, progress: Progress, event: Event, now_ms: int) -> tuple[Progress, tuple[Effect, ...]]:
    """The state after one event, and its effects in the order in which they hold."""
    return advance_all(plan, progress, (event,), now_ms)


def advance_all(
    plan: DeploymentPlan, progress: Progress, events: Iterable[Event], now_ms: int
) -> tuple[Progress, tuple[Effect, ...]]:
    """As `advance`, one event after the other, but the state is copied once."""
    events = tuple(events)
    if progress.restored or any(isinstance(event, HubRestored) for event in events):
        return reckon(plan, progress, events, now_ms)
    turn = _Turn(plan, progress, now_ms)
    for event in events:
        turn.take(event)
    return turn.result()


class _Turn:
    """One working copy of a task's state while events are applied to it."""

    def __init__(self, plan: DeploymentPlan, progress: Progress, now_ms: int) -> None:
        self._plan = plan
        self._now_ms = now_ms
        self._effects: list[Effect] = []
        self._state = progress.state
        self._steps = list(progress.steps)
        self._step = progress.step
        self._batch = progress.batch
        self._open = progress.open
        self._jobs = dict(progress.jobs)
        self._alarm_ms = progress.alarm_ms
        self._cancelled_by = progress.cancelled_by
        self._overdue = progress.overdue
        self._revoked = progress.revoked
        self._troubles = progress.troubles
        self._failure = progress.failure
        self._ended_processes = progress.ended_processes

    def take(self, event: Event) -> None:
        match event:
            case JobEnded():
                self._job_ended(event)
            case JobStarted(job):
                self._job_started(job)
            case JobAccepted(job):
                self._job_accepted(job)
            case JobRenewed(job):
                self._job_renewed(job)
            case JobExpired(job):
                self._job_expired(job)
            case TimerFired(name):
                self._timer_fired(name)
            case Started():
                self._started()
            case CancelAsked(by):
                self._cancel_asked(by)
            case SpokeRevoked(spoke):
                self._spoke_revoked(spoke)
        self._settle()

    def result(self) -> tuple[Progress, tuple[Effect, ...]]:
        progress = Progress(
            state=self._state,
            steps=tuple(self._steps),
            step=self._step,
            batch=self._batch,
            open=self._open,
            jobs=self._jobs,
            alarm_ms=self._alarm_ms,
            cancelled_by=self._cancelled_by,
            overdue=self._overdue,
            revoked=self._revoked,
            troubles=self._troubles,
            failure=self._failure,
            ended_processes=self._ended_processes,
        )
        return progress, tuple(self._effects)

    # What happens

    def _started(self) -> None:
        if self._state is not TaskState.QUEUED:
            return
        self._state = TaskState.RUNNING
        self._effects += [
            DropTimer(QUEUE_TIMER),
            SetTimer(TASK_TIMER, self._now_ms + self._plan.deadline_s * 1000),
            SetTask(TaskState.RUNNING),
            *(Say(Level.WARNING, warning) for warning in self._plan.warnings),
        ]

    def _job_accepted(self, cid: str) -> None:
        found = self._present(cid)
        if found is None:
            return
        planned, job = found
        if job.state is JobState.SENT:
            step = self._plan.step_of(planned)
            self._open_job(planned, job, JobState.ACCEPTED, step.prepare_s * 1000 + _run_ms(step))
            self._effects.append(SetJob(cid, JobState.ACCEPTED))
        elif job.state in JOB_ENDED:
            self._late_start(cid, planned, job)

    def _job_started(self, cid: str) -> None:
        found = self._present(cid)
        if found is None:
            return
        planned, job = found
        if job.state in (JobState.SENT, JobState.ACCEPTED):
            step = self._plan.step_of(planned)
            self._open_job(planned, job, JobState.RUNNING, _run_ms(step), self._now_ms + step.limits.wall_s * 1000)
            self._effects.append(SetJob(cid, JobState.RUNNING))
        elif job.state in JOB_ENDED:
            self._late_start(cid, planned, job)

    def _job_renewed(self, cid: str) -> None:
        found = self._present(cid)
        if found is not None and found[1].state is JobState.ACCEPTED and self._state is TaskState.RUNNING:
            step = self._plan.step_of(found[0])
            self._open_job(*found, JobState.ACCEPTED, step.prepare_s * 1000 + _run_ms(step))

    def _job_ended(self, event: JobEnded) -> None:
        found = self._present(event.job)
        if found is None or found[1].state not in OPEN_JOBS or event.state not in ENDS:
            return
        planned, job = found
        self._ended_processes += event.ended_processes
        if not job.late or event.state is not JobState.CANCELLED or self._state is TaskState.CANCELLING:
            self._end(planned, job, event.state, event.message, event.exit_code)
        elif event.began:
            self._end(planned, job, JobState.FAILED, "it was taken unheard, and stopped when its time was over")
        else:
            self._expire(planned, job)

    def _job_expired(self, cid: str) -> None:
        found = self._present(cid)
        if found is not None and found[1].state is JobState.SENT:
            self._expire(*found)

    def _timer_fired(self, name: str) -> None:
        if name == DEADLINE_TIMER:
            self._alarm_ms = 0
            self._deadlines_passed()
        elif name == TASK_TIMER and self._state is TaskState.RUNNING:
            self._overdue = True
            self._fail(f"it took longer than {_duration(self._plan.deadline_s)}")
            self._stop("the task took too long")
        elif name == QUEUE_TIMER and self._state is TaskState.QUEUED:
            self._fail("its turn did not come in time")
            self._finish(TaskState.FAILED)

    def _cancel_asked(self, by: str) -> None:
        if self._state is TaskState.QUEUED:
            self._cancelled_by = by
            self._finish(TaskState.CANCELLED)
        elif self._state is TaskState.RUNNING:
            self._cancelled_by = by
            self._say(Level.WARNING, f"{by} asked to cancel")
            self._stop(f"{by} asked to cancel")

    def _spoke_revoked(self, spoke: str) -> None:
        if self._state in TASK_ENDED:
            return
        self._revoked |= {spoke}
        for planned in self._present_batch():
            job = self._job(planned)
            if planned.target.spoke == spoke and job.state in OPEN_JOBS:
                self._effects.append(DropJob(self._attempt(planned, job)))
                self._end(planned, job, JobState.REVOKED, "its spoke is not trusted any more")

    # What follows for one job

    def _send(self, planned: PlannedJob, attempt: int) -> None:
        cid = planned.attempts[attempt - 1]
        if planned.target.spoke in self._revoked:
            self._jobs[planned.id] = JobProgress(JobState.SENT, attempt)
            self._end(planned, self._job(planned), JobState.REVOKED, "its spoke is not trusted any more")
            return
        pickup_ms = self._plan.pickup_of(planned) * 1000
        self._effects.append(SetJob(cid, JobState.SENT))
        self._open_job(planned, JobProgress(attempt=attempt), JobState.SENT, pickup_ms + EXPIRY_MARGIN_MS)
        self._effects.append(SendJob(cid, self._now_ms + pickup_ms))

    def _end(
        self, planned: PlannedJob, job: JobProgress, state: JobState, message: str, exit_code: int | None = None
    ) -> None:
        self._effects.append(SetJob(self._attempt(planned, job), state, exit_code, message))
        if self._may_retry(planned, job, state):
            self._say_end(Level.WARNING, planned, f"{_ended(state, exit_code, message)}; trying again")
            self._send(planned, job.attempt + 1)
            return
        self._jobs[planned.id] = JobProgress(state, job.attempt)
        self._open -= 1
        if state is JobState.SUCCEEDED:
            return
        self._troubles |= {state}
        words = _ended(state, exit_code, message)
        self._say_end(Level.ERROR if state in FAILED_JOBS else Level.WARNING, planned, words)
        if state is not JobState.CANCELLED:
            self._fail(f"{self._plan.step_of(planned).name} on {planned.target.name}: {words}")

    def _may_retry(self, planned: PlannedJob, job: JobProgress, state: JobState) -> bool:
        return (
            state in RETRIED_JOBS
            and self._state is TaskState.RUNNING
            and job.attempt < len(planned.attempts)
            and planned.target.spoke not in self._revoked
        )

    def _expire(self, planned: PlannedJob, job: JobProgress) -> None:
        pickup = _duration(self._plan.pickup_of(planned))
        self._end(planned, job, JobState.EXPIRED, f"its spoke did not take it within {pickup}")

    def _late_start(self, cid: str, planned: PlannedJob, job: JobProgress) -> None:
        # Cancelled, expired or given up here, yet begun there: it must not go on unseen.
        if job.state in (JobState.CANCELLED, JobState.EXPIRED, JobState.UNKNOWN):
            self._effects.append(SendCancel(cid, f"the job was {job.state} here before"))
            self._say_end(Level.WARNING, planned, f"it began although it was {job.state}; asked it to stop")

    def _deadlines_passed(self) -> None:
        if self._state in TASK_ENDED:
            return
        for planned in self._present_batch():
            job = self._job(planned)
            if job.state in OPEN_JOBS and job.deadline_ms <= self._now_ms:
                self._deadline_passed(planned, job)
        waiting = [job.deadline_ms for p in self._present_batch() if (job := self._job(p)).state in OPEN_JOBS]
        if waiting:
            self._wake_at(min(waiting))

    def _deadline_passed(self, planned: PlannedJob, job: JobProgress) -> None:
        cid = self._attempt(planned, job)
        if self._state is TaskState.CANCELLING:
            self._effects.append(DropJob(cid))
            self._end(planned, job, JobState.UNKNOWN, "the cancel was not confirmed: nobody said in time that it ended")
        elif job.state is JobState.SENT and not job.late:
            # Whether it went out is in the outbox; if it did, only its spoke knows what became of it.
            self._effects.append(ExpireJob(cid))
            self._open_job(planned, JobProgress(attempt=job.attempt, late=True), JobState.SENT, LATE_MARGIN_MS)
        elif job.state is JobState.SENT:
            pickup = _duration(self._plan.pickup_of(planned))
            self._end(planned, job, JobState.UNKNOWN, f"it was sent, and nobody said within {pickup} that it was taken")
        else:
            self._effects.append(SendCancel(cid, "its time is over"))
            self._end(planned, job, JobState.UNKNOWN, "nothing was heard of it in its time")

    # What follows for the task

    def _stop(self, reason: str) -> None:
        self._state = TaskState.CANCELLING
        self._effects.append(SetTask(TaskState.CANCELLING, self._failure))
        for planned in self._present_batch():
            job = self._job(planned)
            if job.state in OPEN_JOBS:
                self._effects.append(SendCancel(self._attempt(planned, job), reason))
                wait_ms = self._plan.step_of(planned).grace_s * 1000 + CANCEL_MARGIN_MS
                self._open_job(planned, job, job.state, wait_ms)

    def _settle(self) -> None:
        while self._state in (TaskState.RUNNING, TaskState.CANCELLING) and self._open == 0:
            if self._step == len(self._steps):
                self._finish(self._outcome())
            elif self._steps[self._step] is StepState.PENDING:
                self._begin_step(self._plan.steps[self._step])
            else:
                self._end_batch(self._plan.steps[self._step])

    def _begin_step(self, step: PlannedStep) -> None:
        if self._state is TaskState.CANCELLING or not self._met(step.condition):
            self._close_step(step, StepState.SKIPPED)
            return
        self._steps[step.index] = StepState.RUNNING
        self._effects.append(SetStep(step.index, StepState.RUNNING))
        self._say(Level.INFO, f"step {step.index + 1} of {len(self._steps)} begins: {step.name}", step.name)
        self._begin_batch(step, 0)

    def _begin_batch(self, step: PlannedStep, batch: int) -> None:
        self._batch = batch
        self._open = len(step.batches[batch])
        for planned in step.batches[batch]:
            self._send(planned, 1)

    def _end_batch(self, step: PlannedStep) -> None:
        begun = [self._job(job).state for batch in step.batches[: self._batch + 1] for job in batch]
        well = all(state is JobState.SUCCEEDED for state in begun)
        more = self._batch + 1 < len(step.batches)
        if well and more and self._state is TaskState.RUNNING:
            self._begin_batch(step, self._batch + 1)
        else:
            self._close_step(step, _step_outcome(begun, unfinished=more))

    def _close_step(self, step: PlannedStep, state: StepState) -> None:
        self._steps[step.index] = state
        self._effects.append(SetStep(step.index, state))
        if state is not StepState.SUCCEEDED:
            self._effects.append(SkipJobs(step.index))
        self._step += 1
        self._batch = 0

    def _met(self, condition: Condition) -> bool:
        if condition is Condition.ALWAYS:
            return True
        return bool(self._troubles) is (condition is Condition.FAILURE)

    def _outcome(self) -> TaskState:
        unknown = JobState.UNKNOWN in self._troubles
        if self._overdue:
            return TaskState.FAILED
        if self._cancelled_by:
            return self._outcome_of_cancel(unknown=unknown)
        if self._troubles & FAILED_JOBS:
            return TaskState.FAILED
        if unknown:
            return TaskState.UNKNOWN
        return TaskState.CANCELLED if JobState.CANCELLED in self._troubles else TaskState.SUCCEEDED

    def _outcome_of_cancel(self, *, unknown: bool) -> TaskState:
        if unknown:
            return TaskState.UNKNOWN
        # The last job may have ended well before the cancel reached it: then nothing was cancelled.
        left = self._troubles or any(self._undone(step) for step in self._plan.steps)
        return TaskState.CANCELLED if left else TaskState.SUCCEEDED

    def _undone(self, step: PlannedStep) -> bool:
        if self._steps[step.index] is StepState.SKIPPED:
            return step.condition is not Condition.FAILURE
        return self._steps[step.index] is not StepState.SUCCEEDED

    def _finish(self, state: TaskState) -> None:
        for step in self._plan.steps[self._step :]:
            self._steps[step.index] = StepState.SKIPPED
            self._effects += [SetStep(step.index, StepState.SKIPPED), SkipJobs(step.index)]
        self._step = len(self._steps)
        self._state = state
        self._alarm_ms = 0
        self._effects += [DropTimer(name) for name in (DEADLINE_TIMER, TASK_TIMER, QUEUE_TIMER)]
        self._effects.append(SetTask(state, "" if state is TaskState.SUCCEEDED else self._failure))
        self._say(*_last_words(state, self._failure, self._how_cancelled() if state is TaskState.CANCELLED else ""))

    def _how_cancelled(self) -> str:
        if not self._jobs:
            return " before it began"
        ended = self._ended_processes
        words = "nothing of it was running" if not ended else "1 process" if ended == 1 else f"{ended} processes"
        return f", confirmed: {words}{' ended' if ended else ''}"

    # Small change

    def _present(self, cid: str) -> tuple[PlannedJob, JobProgress] | None:
        """The job whose present attempt this is."""
        found = self._plan.attempts.get(cid)
        if found is None:
            return None
        job = self._job(found[0])
        return (found[0], job) if job.attempt == found[1] else None

    def _job(self, planned: PlannedJob) -> JobProgress:
        return self._jobs.get(planned.id, _PLANNED)

    def _attempt(self, planned: PlannedJob, job: JobProgress) -> str:
        return planned.attempts[job.attempt - 1]

    def _present_batch(self) -> tuple[PlannedJob, ...]:
        if self._step == len(self._steps) or self._steps[self._step] is not StepState.RUNNING:
            return ()
        return self._plan.steps[self._step].batches[self._batch]

    def _open_job(
        self, planned: PlannedJob, job: JobProgress, state: JobState, time_ms: int, run_ms: int | None = None
    ) -> None:
        deadline_ms = self._now_ms + time_ms
        self._jobs[planned.id] = JobProgress(state, job.attempt, deadline_ms, job.late)
        self._effects.append(SetDeadline(self._attempt(planned, job), deadline_ms, run_ms))
        self._wake_at(deadline_ms)

    def _wake_at(self, due_ms: int) -> None:
        if self._alarm_ms == 0 or due_ms < self._alarm_ms:
            self._alarm_ms = due_ms
            self._effects.append(SetTimer(DEADLINE_TIMER, due_ms))

    def _fail(self, sentence: str) -> None:
        self._failure = self._failure or sentence

    def _say(self, level: Level, text: str, step: str = "", target: str = "") -> None:
        self._effects.append(Say(level, text, step, target))

    def _say_end(self, level: Level, planned: PlannedJob, words: str) -> None:
        self._say(level, f"{planned.target.name}: {words}", self._plan.step_of(planned).name, planned.target.name)


def _run_ms(step: PlannedStep) -> int:
    return (step.limits.wall_s + step.grace_s) * 1000 + REPORT_MARGIN_MS


def _step_outcome(states: list[JobState], *, unfinished: bool) -> StepState:
    found = frozenset(states)
    if found & FAILED_JOBS:
        return StepState.FAILED
    if JobState.UNKNOWN in found:
        return StepState.UNKNOWN
    # Batches that did not begin although all went well: somebody asked to stop.
    if JobState.CANCELLED in found or unfinished:
        return StepState.CANCELLED
    return StepState.SUCCEEDED


def _ended(state: JobState, exit_code: int | None, message: str) -> str:
    words = str(state) if exit_code is None else f"{state}, exit code {exit_code}"
    return f"{words}: {message}" if message else words


def _last_words(state: TaskState, failure: str, how: str) -> tuple[Level, str]:
    if state is TaskState.SUCCEEDED:
        return Level.INFO, "the task succeeded"
    reason = f": {failure}" if failure else ""
    words = "the end of the task is unknown" if state is TaskState.UNKNOWN else f"the task {_verb(state)}{how}"
    return (Level.ERROR if state is TaskState.FAILED else Level.WARNING), words + reason


def _verb(state: TaskState) -> str:
    return "was cancelled" if state is TaskState.CANCELLED else str(state)


def _duration(seconds: int) -> str:
    for size, name in ((3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds // size} {name}"
    return f"{seconds} s"

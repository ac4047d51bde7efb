"""PURE. Why something does not move: who it waits for, since when and until when, in one sentence.

    waits for web-03: last heartbeat 4 min ago; fails at 14:20 UTC by policy 'web'

A run has two clocks: until when its spoke may take it, and when its machine ends it. Behind either comes the moment
when the hub gives it up. What is still open past that moment is looked after by nobody: the engine is gone.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from hub.states import JobState, OutboxKind, OutboxState

ENGINE = "the hub's engine"
# As long as an engine that is busy may take to fire a timer. Past that it counts as gone.
SLACK_MS = 15_000
# Sooner nobody would read it.
PATIENCE_MS = 3_000
_FAR_MS = 20 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Wait:
    """One object that is not finished. `is_trouble`: somebody may want to know why it takes so long."""

    what: str
    name: str
    owner: str
    since_ms: int
    deadline_ms: int | None
    sentence: str
    is_trouble: bool = False


@dataclass(frozen=True, slots=True)
class Carrier:
    """Who carries a job: `seen_ms` is None where it was never heard of.

    `away`: why it cannot reach the machine, though it is there itself. `policy`: whose patience it is, as it ends a
    sentence.
    """

    name: str
    is_live: bool
    seen_ms: int | None
    away: str = ""
    policy: str = ""

    def silence(self, now_ms: int) -> str:
        return "never heard of yet" if self.seen_ms is None else f"last heartbeat {ago(now_ms - self.seen_ms)} ago"


@dataclass(frozen=True, slots=True)
class OpenJob:
    """A job that is sent and has not ended. Times in UTC milliseconds, 0 where there is none."""

    target: str
    state: JobState
    since_ms: int
    pickup_ms: int
    run_ms: int
    gives_up_ms: int
    is_cancelled: bool = False


def of_job(job: OpenJob, carrier: Carrier, now_ms: int, stopped: str = "") -> Wait:
    """Why a job is where it is.

    Args:
        job: Which.
        carrier: Its spoke.
        now_ms: The present.
        stopped: Why no command goes out at all; "" where they do.
    """
    deadline_ms = job.gives_up_ms
    if is_unattended(job.gives_up_ms, now_ms):
        owner, sentence, is_trouble = ENGINE, f"{job.target}: {unattended(job.gives_up_ms, now_ms)}", True
    elif job.is_cancelled:
        owner, (sentence, is_trouble) = carrier.name, (_cancelled(job, carrier, now_ms), True)
    elif job.state is JobState.SENT:
        owner, (sentence, deadline_ms) = carrier.name, _sent(job, carrier, now_ms, stopped)
        is_trouble = now_ms - job.since_ms > PATIENCE_MS
    else:
        owner, is_trouble = carrier.name, not carrier.is_live
        sentence = (_running if job.state is JobState.RUNNING else _accepted)(job, carrier, now_ms)
    return Wait("job", job.target, owner, job.since_ms, deadline_ms, sentence, is_trouble)


def _sent(job: OpenJob, carrier: Carrier, now_ms: int, stopped: str) -> tuple[str, int]:
    if now_ms > job.pickup_ms and job.gives_up_ms > job.pickup_ms:
        words = f"waits for {job.target} to say whether it has taken it"
        return f"{words}; unknown at {clock(job.gives_up_ms, now_ms)}", job.gives_up_ms
    why = stopped or carrier.away or ("sent, not accepted yet" if carrier.is_live else carrier.silence(now_ms))
    ends = f"fails at {clock(job.pickup_ms, now_ms)}{carrier.policy}"
    return f"waits for {job.target}: {why}; {ends}", job.pickup_ms


def _accepted(job: OpenJob, carrier: Carrier, now_ms: int) -> str:
    ends = f"unknown at {clock(job.gives_up_ms, now_ms)}"
    if carrier.is_live:
        return f"{job.target} has taken it and prepares it, or has no place for it yet; {ends}"
    return f"waits for {job.target}, which has taken it: {carrier.silence(now_ms)}; {ends}"


def _running(job: OpenJob, carrier: Carrier, now_ms: int) -> str:
    ends = f"ended there at {clock(job.run_ms, now_ms)}" if job.run_ms else "ended there at its time limit"
    if carrier.is_live:
        return f"runs on {job.target}; {ends} at the latest"
    last = f"{ends}, unknown here at {clock(job.gives_up_ms, now_ms)}"
    return f"waits for {job.target}, where it runs: {carrier.silence(now_ms)}; {last}"


def _cancelled(job: OpenJob, carrier: Carrier, now_ms: int) -> str:
    ends = f"not confirmed at {clock(job.gives_up_ms, now_ms)}"
    if carrier.is_live:
        return f"waits for {job.target} to say that all of it has ended; {ends}"
    return f"waits for {job.target} to end it: {carrier.silence(now_ms)}; {ends}"


def of_spoke(carrier: Carrier, created_ms: int, is_pending: bool, now_ms: int) -> Wait:
    """Why a spoke that is not there is not there; nothing ends that by itself."""
    if is_pending:
        sentence = f"{carrier.name} waits for somebody to compare its thumbprint and approve it"
        return Wait("spoke", carrier.name, "whoever may approve spokes", created_ms, None, sentence, is_trouble=True)
    silent = f"{carrier.name} is silent: {carrier.silence(now_ms)}; what is for it waits until its own deadline"
    return Wait("spoke", carrier.name, carrier.name, carrier.seen_ms or created_ms, None, silent, is_trouble=True)


@dataclass(frozen=True, slots=True)
class Sending:
    """A row of the outbox that has not done its work."""

    kind: OutboxKind
    state: OutboxState
    since_ms: int
    expires_ms: int | None
    attempts: int


def of_sending(sending: Sending, carrier: Carrier, now_ms: int) -> Wait:
    """Why a message to a spoke is where it is."""
    if sending.state is OutboxState.HELD:
        where = f"is kept here: {carrier.away or f'{carrier.name} cannot reach the machine'}"
    elif sending.state is OutboxState.WAITING and not carrier.is_live:
        where = f"is kept here until {carrier.name} is there: {carrier.silence(now_ms)}"
    elif sending.state is OutboxState.WAITING:
        where = "goes out now" if not sending.attempts else "goes out once more"
    else:
        where = f"was sent {_times(sending.attempts)}; {carrier.name} has not answered"
    ends = f"; dropped at {clock(sending.expires_ms, now_ms)}" if sending.expires_ms else ""
    sentence = f"the {sending.kind} for {carrier.name} {where}{ends}"
    is_trouble = now_ms - sending.since_ms > PATIENCE_MS
    return Wait("message", str(sending.kind), carrier.name, sending.since_ms, sending.expires_ms, sentence, is_trouble)


def is_unattended(deadline_ms: int, now_ms: int) -> bool:
    """Whether this should long be over: then nobody looks."""
    return 0 < deadline_ms < now_ms - SLACK_MS


def unattended(deadline_ms: int, now_ms: int) -> str:
    due = clock(deadline_ms, now_ms)
    return f"nobody looks after it: {ENGINE} should have decided at {due}; it is gone, or hears none of its spokes"


def clock(at_ms: int, now_ms: int) -> str:
    """A moment as people read it: the day only where it is not near."""
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    return moment.strftime("%H:%M UTC" if abs(at_ms - now_ms) < _FAR_MS else "%Y-%m-%d %H:%M UTC")


def ago(span_ms: int) -> str:
    seconds = max(span_ms // 1000, 0)
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"

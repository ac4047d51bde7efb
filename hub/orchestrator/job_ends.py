"""PURE. How a job ended, from what its spoke says: the state that counts, and the sentence that people read.

A job that was stopped (by a cancel, its time limit, its machine's shutdown) is over only when none of its processes is
left. Then it says how many were ended; else it is unknown, and says who goes on.
"""

from hub.states import JobState
from wire.messages import Result

# As many as one reads; the row has them all.
_NAMED = 10
_STOPS = {JobState.CANCELLED: "the cancel", JobState.TIMED_OUT: "the end at its time limit"}
_CANCELLED = "cancelled: "
# The supervisor names those that are left in its own message too.
_LEFT = "; not ended: "


def end_of(body: Result) -> tuple[JobState, str]:
    state = JobState(body.state)
    if body.survivors or (state is JobState.CANCELLED and body.cancel_confirmed is False):
        return JobState.UNKNOWN, _joined(_not_confirmed(state, body), *_said(body, state), _count(body))
    return state, _joined(*_said(body, state), _confirmed(state, body))


def _not_confirmed(state: JobState, body: Result) -> str:
    what = f"{_STOPS.get(state, 'the end')} was not confirmed"
    if not body.survivors:
        return what
    more = len(body.survivors) - _NAMED
    names = ", ".join(body.survivors[:_NAMED]) + (f" and {more} more" if more > 0 else "")
    return f"{what}, still running: {names}"


def _confirmed(state: JobState, body: Result) -> str:
    if state is JobState.CANCELLED and not body.started_at:
        return "before it began"
    ended = _count(body)
    return f"confirmed: {ended}" if ended and state in _STOPS else ended


def _count(body: Result) -> str:
    count = body.ended_processes
    return "" if not count else "1 process ended" if count == 1 else f"{count} processes ended"


def _said(body: Result, state: JobState) -> tuple[str, str]:
    message = body.message.partition(_LEFT)[0]
    if state is JobState.CANCELLED:
        message = "" if message == "cancelled" else message.removeprefix(_CANCELLED)
    return message, body.known


def _joined(*words: str) -> str:
    return "; ".join(word for word in words if word)

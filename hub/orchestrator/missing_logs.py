"""What is known of logs in which something is missing, for whoever shows it."""

from collections.abc import Iterable

from hub.states import FetchState
from hub.storage.models import LogFetch

ATTEMPTS_MAX = 5


def fetches_of(cids: Iterable[str]) -> dict[str, LogFetch]:
    """What is known of logs with something missing, by job."""
    return {str(row.job): row for row in LogFetch.select().where(LogFetch.job.in_(list(cids)))}


def words(row: LogFetch) -> str:
    """What is being done about what is missing, in one sentence."""
    if row.state is FetchState.GIVEN_UP:
        return f"missing for good: {row.answer}"
    if row.asked:
        return f"asked for again (try {row.attempts} of {ATTEMPTS_MAX})"
    return "will be asked for again" if row.attempts < ATTEMPTS_MAX else "looked at once more"

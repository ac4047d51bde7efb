"""Changes many rows of jobs at once, each in its own way: one prepared statement, run for all of them.

A statement that peewee builds costs more than a signature; of these there is one for each job that ends.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from hub.states import JobState
from hub.storage.database import is_postgres
from hub.storage.models import Job
from hub.storage.prepared import Prepared, hole

# None leaves a column as it is. The same text twice, for the two databases spell a parameter in two ways.
_ON_SQLITE = (
    "UPDATE job SET state = COALESCE(?, state), exit_code = COALESCE(?, exit_code), message = COALESCE(?, message),"
    " accepted_at = COALESCE(?, accepted_at), started_at = COALESCE(?, started_at), ended_at = COALESCE(?, ended_at),"
    " deadline_at = COALESCE(?, deadline_at), result_sha256 = COALESCE(?, result_sha256),"
    " records = COALESCE(?, records), chain = COALESCE(?, chain), log_state = COALESCE(?, log_state),"
    " run_deadline_at = COALESCE(?, run_deadline_at), gives_up_at = COALESCE(?, gives_up_at),"
    " ended_processes = COALESCE(?, ended_processes), survivors = COALESCE(?, survivors) WHERE id = ?"
)
_ON_POSTGRES = (
    "UPDATE job SET state = COALESCE(%s, state), exit_code = COALESCE(%s, exit_code), message = COALESCE(%s, message),"
    " accepted_at = COALESCE(%s, accepted_at), started_at = COALESCE(%s, started_at),"
    " ended_at = COALESCE(%s, ended_at), deadline_at = COALESCE(%s, deadline_at),"
    " result_sha256 = COALESCE(%s, result_sha256), records = COALESCE(%s, records), chain = COALESCE(%s, chain),"
    " log_state = COALESCE(%s, log_state), run_deadline_at = COALESCE(%s, run_deadline_at),"
    " gives_up_at = COALESCE(%s, gives_up_at), ended_processes = COALESCE(%s, ended_processes),"
    " survivors = COALESCE(%s, survivors) WHERE id = %s"
)
_COLUMNS = (
    "state", "exit_code", "message", "accepted_at", "started_at", "ended_at",
    "deadline_at", "result_sha256", "records", "chain", "log_state", "run_deadline_at", "gives_up_at",
    "ended_processes", "survivors",
)  # fmt: skip
_FIRST = (
    "id", "task", "step_index", "step", "target", "target_name", "spoke", "attempt", "state", "created_at",
    "deadline_at", "exit_code", "message", "ended_at", "gives_up_at",
)  # fmt: skip
_ABSENT = {
    "state": JobState.PLANNED, "deadline_at": None, "exit_code": None, "message": "", "ended_at": None,
    "gives_up_at": None,
}  # fmt: skip
_INSERT = Prepared(lambda: Job.insert({name: hole(name) for name in _FIRST}))


def insert_jobs(rows: Iterable[Mapping[str, Any]]) -> None:
    """New jobs, with what is known of them; inside `write_tx`."""
    _INSERT.run_each({**_ABSENT, **row} for row in rows)


def update_jobs(changes: Mapping[str, Mapping[str, Any]]) -> None:
    """Set the columns of each job; inside `write_tx`. Of `_COLUMNS` only; None leaves one as it is."""
    unknown = {name for columns in changes.values() for name in columns} - set(_COLUMNS)
    if unknown:
        raise ValueError(f"not among the columns of this statement: {', '.join(sorted(unknown))}")
    rows = [(*(_plain(columns.get(name)) for name in _COLUMNS), cid) for cid, columns in changes.items()]
    cursor = Job._meta.database.cursor()  # noqa: SLF001  Peewee's own way to a model's database.
    cursor.executemany(_ON_POSTGRES if is_postgres() else _ON_SQLITE, rows)


def _plain(value: Any) -> Any:
    """Enumerations as the text they are."""
    return str(value) if isinstance(value, str) else value

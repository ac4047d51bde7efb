"""What a spoke has promised: a row for each command, on disk before the command is acknowledged and before it runs.

    accepted -> starting -> running -> finished     a command in order; the first two are one where nothing is to be
                                                    waited for or fetched
    accepted -> cancelled | expired                 nothing was started, and nothing ever will be
    starting, running -> unknown                    started, and nobody knows how it ended

The same job again is answered from its row. Threads that write at the same time share one commit, and with it one
fsync: SQLite with synchronous=FULL, for a row that a power cut takes away would run twice.
"""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, TypeVar

from spokes.agent.errors import JournalFailed
from spokes.agent.processes import boot_id

Answer = TypeVar("Answer")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS command (
    cid TEXT PRIMARY KEY,
    mid TEXT NOT NULL UNIQUE,
    ses TEXT NOT NULL,
    seq INTEGER NOT NULL,
    op TEXT NOT NULL,
    job_sha256 TEXT NOT NULL,
    frame_sha256 TEXT NOT NULL,
    state TEXT NOT NULL,
    result TEXT NOT NULL DEFAULT '',
    result_sha256 TEXT NOT NULL DEFAULT '',
    exp INTEGER NOT NULL,
    runner TEXT NOT NULL DEFAULT '',
    capability TEXT NOT NULL DEFAULT '',
    frame BLOB,
    accepted_at INTEGER NOT NULL,
    reported_at INTEGER
) STRICT;
CREATE INDEX IF NOT EXISTS command_open ON command (state) WHERE reported_at IS NULL;
CREATE TABLE IF NOT EXISTS boot (id TEXT PRIMARY KEY, after INTEGER NOT NULL) STRICT;
"""
# Which commands came before this boot of the machine: those that its first daemon found.
_THIS_BOOT = "INSERT OR IGNORE INTO boot (id, after) SELECT ?, COALESCE(MAX(rowid), 0) FROM command"
_COLUMNS = (
    "cid, mid, ses, seq, op, job_sha256, frame_sha256, state, result, result_sha256, exp, runner, capability, "
    "accepted_at, reported_at"
)
_ARRIVES = ("cid", "mid", "ses", "seq", "op", "job_sha256", "frame_sha256", "exp", "runner", "capability")


class State(StrEnum):
    ACCEPTED = "accepted"
    STARTING = "starting"
    RUNNING = "running"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    UNKNOWN = "unknown"

    @property
    def ended(self) -> bool:
        return self not in {State.ACCEPTED, State.STARTING, State.RUNNING}


@dataclass(frozen=True, slots=True)
class Entry:
    """One row. `result` is the stored result's JSON, `result_sha256` of its bytes; times are UTC seconds.

    `mid`, `ses`, `seq` and `frame_sha256` name the newest verified frame that carried this command: an answer refers to
    that one.
    """

    cid: str
    mid: str
    ses: str
    seq: int
    op: str
    job_sha256: str
    frame_sha256: str
    state: State
    result: str
    result_sha256: str
    exp: int
    runner: str
    capability: str = field(repr=False)
    accepted_at: int
    reported_at: int | None


@dataclass(frozen=True, slots=True)
class Arrival:
    """A verified command or cancel, about to be recorded. `frame` is kept, sealed as it came, while it is needed.

    `starts_at_once`: nothing stands between its acceptance and its start, so both are one commit.
    """

    cid: str
    mid: str
    ses: str
    seq: int
    op: str
    job_sha256: str
    frame_sha256: str
    exp: int
    runner: str
    capability: str = field(repr=False)
    frame: bytes = field(repr=False)
    at: int
    starts_at_once: bool = False


@dataclass(frozen=True, slots=True)
class End:
    """How a job ended: its row's state, its result's JSON and the digest of that."""

    cid: str
    state: State
    result: str
    result_sha256: str


class Verdict(StrEnum):
    NEW = "new"
    KNOWN = "known"
    OTHER_JOB = "other-job"


class Journal:
    """Used by all threads of the daemon.

    Args:
        keeps_commands: Keep the frame of a command until its job is reported; else only until it is started, for
            secrets ride in it.
    """

    def __init__(self, path: Path, *, keeps_commands: bool = False) -> None:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        self._connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.executescript(_SCHEMA)
        self._connection.execute(_THIS_BOOT, (boot_id(),))
        self._frame_after_start = "frame" if keeps_commands else "NULL"
        self._pen = threading.Lock()
        self._came_again: set[str] = set()
        self._waiting: list[_Write[Any]] = []
        self._waiting_lock = threading.Lock()

    def accept(self, arrivals: Sequence[Arrival]) -> list[tuple[Verdict, Entry]]:
        """Record commands, all in one commit; says for each whether it is new, and what its row holds now."""
        found = self._write(lambda database: [_accept(database, arrival) for arrival in arrivals])
        self._came_again.update(entry.cid for verdict, entry in found if verdict is Verdict.KNOWN)
        return found

    def cancel(self, arrival: Arrival) -> Entry:
        """Record a cancel; one that comes before its command wins for ever. Returns the row after it."""
        return self._write(lambda database: _cancel(database, arrival))

    def mark_starting(self, cid: str) -> bool:
        """True for the one caller that may start it now."""
        return self._write(
            lambda database: (
                database.execute(
                    f"UPDATE command SET state = 'starting', frame = {self._frame_after_start}"  # noqa: S608  One of two words.
                    " WHERE cid = ? AND state = 'accepted'",
                    (cid,),
                ).rowcount
                == 1
            )
        )

    def mark_running(self, cid: str) -> None:
        """With the next commit, whoever's it is: a row that stays at `starting` is taken up all the same."""
        self._write_later(
            lambda database: database.execute(
                "UPDATE command SET state = 'running' WHERE cid = ? AND state = 'starting'", (cid,)
            )
        )

    def end(self, cid: str, state: State, result: str, result_sha256: str) -> Entry:
        """Store how it ended, once; the first end wins. Returns the row after it."""

        def change(database: sqlite3.Connection) -> Entry:
            self._end(database, End(cid, state, result, result_sha256))
            return _known(database, cid)

        return self._write(change)

    def settle(self, ends: Sequence[End], reported: Sequence[str], at: int) -> None:
        """In one commit: how jobs ended, as `end`, and which ends the hub has."""

        def change(database: sqlite3.Connection) -> None:
            for end in ends:
                self._end(database, end)
            database.executemany(
                "UPDATE command SET reported_at = ?, capability = '', frame = NULL WHERE cid = ?",
                [(at, cid) for cid in reported],
            )

        self._write(change)
        self._came_again.difference_update(reported)

    def write_what_waits(self) -> None:
        """For what has waited long enough for a commit of somebody else's."""
        with self._waiting_lock:
            waits = bool(self._waiting)
        if waits:
            self._write(lambda _: None)

    def entry(self, cid: str) -> Entry | None:
        return self._read(lambda database: _entry(database, cid))

    def came_again(self, cid: str) -> bool:
        """Whether another frame of an open command has come."""
        return cid in self._came_again

    def newest(self, entry: Entry) -> Entry:
        """An open entry with the frame that an answer refers to now: another one once its command came again."""
        return (self.entry(entry.cid) or entry) if entry.cid in self._came_again else entry

    def is_of_this_boot(self, cid: str) -> bool:
        """Whether the command came since the machine was started: what it left on the disk is there still."""
        row = self._read(
            lambda database: database.execute(
                "SELECT command.rowid > boot.after FROM command, boot WHERE command.cid = ? AND boot.id = ?",
                (cid, boot_id()),
            ).fetchone()
        )
        return bool(row and row[0])

    def frame(self, cid: str) -> bytes | None:
        """The sealed frame of a command, as long as it is kept."""
        row = self._read(
            lambda database: database.execute("SELECT frame FROM command WHERE cid = ?", (cid,)).fetchone()
        )
        return row[0] if row else None

    def frames(self) -> list[bytes]:
        """All frames that are kept."""
        rows = self._read(
            lambda database: database.execute("SELECT frame FROM command WHERE frame IS NOT NULL").fetchall()
        )
        return [row[0] for row in rows]

    def unreported(self, limit: int = -1) -> list[Entry]:
        """Everything whose end the hub has not confirmed, newest first."""
        rows = self._read(
            lambda database: database.execute(
                f"SELECT {_COLUMNS} FROM command WHERE reported_at IS NULL ORDER BY rowid DESC LIMIT ?",  # noqa: S608  Our own column names.
                (limit,),
            ).fetchall()
        )
        return [_from_row(row) for row in rows]

    def prune(self, now: int, keep_s: int) -> int:
        """Forget what was reported, older than keep_s and a week past its expiry; returns how many."""
        return self._write(
            lambda database: (
                database.execute(
                    "DELETE FROM command WHERE reported_at IS NOT NULL AND reported_at < ? AND exp < ?",
                    (now - keep_s, now - 7 * 86_400),
                ).rowcount
            )
        )

    def close(self) -> None:
        with self._pen:
            self._connection.close()

    def _read(self, look: "Callable[[sqlite3.Connection], Answer]") -> Answer:
        try:
            with self._pen:
                return look(self._connection)
        except sqlite3.Error as error:
            raise JournalFailed(f"the journal cannot be read: {error}") from error

    def _end(self, database: sqlite3.Connection, end: End) -> None:
        database.execute(
            f"UPDATE command SET state = ?, result = ?, result_sha256 = ?, frame = {self._frame_after_start}"  # noqa: S608  As above.
            " WHERE cid = ? AND result = '' AND (state IN ('accepted', 'starting', 'running') OR state = ?)",
            (end.state, end.result, end.result_sha256, end.cid, end.state),
        )

    def _write_later(self, change: "Callable[[sqlite3.Connection], object]") -> None:
        with self._waiting_lock:
            self._waiting.append(_Write(change))

    def _write(self, change: "Callable[[sqlite3.Connection], Answer]") -> Answer:
        write = _Write(change)
        with self._waiting_lock:
            self._waiting.append(write)
        with self._pen:
            if not write.done:
                self._commit_waiting()
        return write.answer()

    def _commit_waiting(self) -> None:
        with self._waiting_lock:
            writes, self._waiting = self._waiting, []
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for write in writes:
                write.apply(self._connection)
            self._connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001  Whatever it is, every caller hears of it and the next commit finds no open one.
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            for write in writes:
                write.fail(error)
        for write in writes:
            write.done = True


class _Write(Generic[Answer]):
    """One change that waits for the next commit, and then for its caller."""

    def __init__(self, change: Callable[[sqlite3.Connection], Answer]) -> None:
        self.done = False
        self._change = change
        self._answer: list[Answer] = []
        self._error: Exception | None = None

    def apply(self, database: sqlite3.Connection) -> None:
        self._answer = [self._change(database)]

    def fail(self, error: Exception) -> None:
        self._error = error

    def answer(self) -> Answer:
        if self._error is not None:
            raise JournalFailed(f"the journal cannot be written: {self._error}") from self._error
        return self._answer[0]


def _accept(database: sqlite3.Connection, arrival: Arrival) -> tuple[Verdict, Entry]:
    state, frame = (State.STARTING, None) if arrival.starts_at_once else (State.ACCEPTED, arrival.frame)
    if _insert(database, arrival, state, frame):
        return Verdict.NEW, _as_entry(arrival, state)
    known = _entry(database, arrival.cid) or _entry_of_message(database, arrival.mid)
    if known is None:
        raise sqlite3.IntegrityError(f"the row of {arrival.cid} is gone")
    if known.cid != arrival.cid:
        return Verdict.OTHER_JOB, known
    if known.state is State.CANCELLED and not known.job_sha256:
        database.execute("UPDATE command SET job_sha256 = ? WHERE cid = ?", (arrival.job_sha256, arrival.cid))
    elif known.job_sha256 != arrival.job_sha256:
        return Verdict.OTHER_JOB, known
    _refer_to(database, arrival)
    return Verdict.KNOWN, _known(database, arrival.cid)


def _cancel(database: sqlite3.Connection, arrival: Arrival) -> Entry:
    if _entry(database, arrival.cid) is None:
        _insert(database, arrival, State.CANCELLED, None)
    database.execute(
        "UPDATE command SET state = 'cancelled', frame = NULL WHERE cid = ? AND state = 'accepted'", (arrival.cid,)
    )
    return _known(database, arrival.cid)


def _insert(database: sqlite3.Connection, arrival: Arrival, state: State, frame: bytes | None) -> bool:
    """False where its job or its message is known."""
    written = database.execute(
        f"INSERT OR IGNORE INTO command ({', '.join(_ARRIVES)}, state, frame, accepted_at)"  # noqa: S608  Our own column names.
        f" VALUES ({', '.join('?' * len(_ARRIVES))}, ?, ?, ?)",
        (*(getattr(arrival, name) for name in _ARRIVES), state, frame, arrival.at),
    )
    return written.rowcount == 1


def _as_entry(arrival: Arrival, state: State) -> Entry:
    """The row of an arrival that was just written."""
    columns = {name: getattr(arrival, name) for name in _ARRIVES}
    return Entry(**columns, state=state, result="", result_sha256="", accepted_at=arrival.at, reported_at=None)


def _refer_to(database: sqlite3.Connection, arrival: Arrival) -> None:
    """Answers name the newest frame; one that has not begun is renewed by it: its time, its leave to fetch."""
    database.execute(
        "UPDATE OR IGNORE command SET mid = ?, ses = ?, seq = ?, frame_sha256 = ? WHERE cid = ?",
        (arrival.mid, arrival.ses, arrival.seq, arrival.frame_sha256, arrival.cid),
    )
    database.execute(
        "UPDATE command SET exp = ?, capability = ?, frame = ? WHERE cid = ? AND state = 'accepted' AND exp < ?",
        (arrival.exp, arrival.capability, arrival.frame, arrival.cid, arrival.exp),
    )


def _known(database: sqlite3.Connection, cid: str) -> Entry:
    found = _entry(database, cid)
    if found is None:
        raise sqlite3.IntegrityError(f"the row of {cid} is gone")
    return found


def _entry(database: sqlite3.Connection, cid: str) -> Entry | None:
    row = database.execute(f"SELECT {_COLUMNS} FROM command WHERE cid = ?", (cid,)).fetchone()  # noqa: S608  As above.
    return _from_row(row) if row else None


def _entry_of_message(database: sqlite3.Connection, mid: str) -> Entry | None:
    row = database.execute(f"SELECT {_COLUMNS} FROM command WHERE mid = ?", (mid,)).fetchone()  # noqa: S608  As above.
    return _from_row(row) if row else None


def _from_row(row: tuple[Any, ...]) -> Entry:
    columns = dict(zip(_COLUMNS.split(", "), row, strict=True))
    return Entry(**{**columns, "state": State(columns["state"])})

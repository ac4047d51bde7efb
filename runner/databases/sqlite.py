"""SQLite, by Python's own module: each file is one transaction, which has the database to itself from its beginning."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path
from typing import Callable, List, Tuple
from urllib.parse import quote

from runner.database import Database, Stamp, Tools, hex_of
from runner.errors import StepFailed
from runner.migrations import APPLIED, STARTED, Entry, Migration, head_of
from runner.package_files import read_text
from runner.stopping import without_sigterm

try:
    import sqlite3
except ImportError as error:
    raise StepFailed(
        "the Python of this machine was built without SQLite; its package is often called sqlite3"
    ) from error

_TABLE = (
    "CREATE TABLE IF NOT EXISTS main.{} (name TEXT PRIMARY KEY, sha256 TEXT NOT NULL, state TEXT NOT NULL, "
    "applied_at TEXT NOT NULL, release_version TEXT NOT NULL, task TEXT NOT NULL)"
)
_STEPS_BETWEEN_LOOKS = 100_000
_NOW = "strftime('%Y-%m-%dT%H:%M:%SZ', 'now')"


class SqliteSession:
    def __init__(self, database: Database, tools: Tools) -> None:
        path = Path(database.name)
        for name in ("host", "port", "user", "password", "ca_file"):
            if getattr(database, name):
                raise StepFailed(f"a SQLite database is a file and takes no {name}")
        if not path.is_absolute() or "." in database.journal:
            raise StepFailed(
                "database must be the absolute path of a file for SQLite, and journal a name without a dot"
            )
        self.journal = database.journal
        self._is_new = not path.exists()
        self._say, self._path = tools.say, path
        how = "?mode=ro" if database.is_read_only else ""
        self._connection: sqlite3.Connection | None = None
        if self._is_new and database.is_read_only:
            return
        try:
            self._connection = sqlite3.connect(
                f"file:{quote(str(path))}{how}", uri=True, timeout=database.wait_s, isolation_level=None
            )
        except sqlite3.Error as error:
            raise StepFailed(f"{path} cannot be opened: {error}") from error

    def entries(self) -> List[Entry]:
        if self._connection is None:
            return []
        try:
            there = self._connection.execute(
                "SELECT 1 FROM main.sqlite_master WHERE type = 'table' AND name = ?", (self.journal,)
            ).fetchone()
            columns = "name, sha256, state, release_version, applied_at"
            query = f"SELECT {columns} FROM main.{self.journal} ORDER BY name"  # noqa: S608  the name is checked
            return [Entry(*map(str, row)) for row in self._connection.execute(query)] if there else []
        except sqlite3.Error as error:
            raise StepFailed(f"the journal in {self._path} cannot be read: {error}") from error

    def take(self) -> None:
        """No lock outlives a transaction here; each file takes its own, and meets the other's row."""
        if self._is_new:
            self._say(f"{self._path} is a new database")
        try:
            self._open.execute(_TABLE.format(self.journal))
        except sqlite3.Error as error:
            raise StepFailed(f"the journal in {self._path} cannot be made: {error}") from error

    def apply(self, migration: Migration, stamp: Stamp) -> None:
        text = read_text(migration.path)[0]
        started, applied = self._statements(migration, stamp)
        script = text if migration.is_alone else f"BEGIN IMMEDIATE; {started};\n{text}"
        place = _Place(script, lines_before=0 if migration.is_alone else 1)
        try:
            if migration.is_alone:
                self._open.execute(started)
            else:
                self._open.set_authorizer(_only_our_begin())
            self._open.set_trace_callback(place.follow)
            # SQLite would swallow what a signal raises amid a callback, so it is asked whether one waits.
            self._open.set_progress_handler(_is_to_stop, _STEPS_BETWEEN_LOOKS)
            with without_sigterm():
                self._open.executescript(script)
            self._let_all_through()
            self._open.execute(applied)
            if self._open.in_transaction:
                self._open.execute("COMMIT")
        except UnicodeError as error:
            raise StepFailed("it is no text in UTF-8") from error
        except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
            raise StepFailed(_said(error, place.line)) from error
        finally:
            self._let_all_through()
            if self._open.in_transaction:
                with suppress(sqlite3.Error):
                    self._open.execute("ROLLBACK")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    @property
    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StepFailed(f"there is no database {self._path}")
        return self._connection

    def _let_all_through(self) -> None:
        self._open.set_trace_callback(None)
        self._open.set_progress_handler(None, 0)
        # Python before 3.11 cannot take an authorizer away again: a dead one would deny everything.
        self._open.set_authorizer(lambda *_: sqlite3.SQLITE_OK)

    def _statements(self, migration: Migration, stamp: Stamp) -> Tuple[str, str]:
        values = [hex_of(text) for text in (migration.name, migration.sha256, STARTED, stamp.release, stamp.task)]
        name, digest, state, release, task = (f"CAST(X'{value}' AS TEXT)" for value in values)
        return (
            f"INSERT INTO main.{self.journal} (name, sha256, state, applied_at, release_version, task) "  # noqa: S608  checked name, hex values
            f"VALUES ({name}, {digest}, {state}, {_NOW}, {release}, {task})",
            f"UPDATE main.{self.journal} SET state = '{APPLIED}', applied_at = {_NOW} WHERE name = {name}",  # noqa: S608  the same
        )


def _is_to_stop() -> bool:
    return signal.SIGTERM in signal.sigpending()


def _only_our_begin() -> Callable[..., int]:
    """Lets one transaction be begun, and none ended: a file that did that would leave its row of the journal behind."""
    begun: List[str] = []

    def judge(action: int, first: str | None, *_: object) -> int:
        if action != sqlite3.SQLITE_TRANSACTION:
            return sqlite3.SQLITE_OK
        if begun or first != "BEGIN":
            return sqlite3.SQLITE_DENY
        begun.append(first)
        return sqlite3.SQLITE_OK

    return judge


class _Place:
    """Where in a script its last statement began: SQLite tells what it runs, piece by piece, but no lines."""

    def __init__(self, script: str, lines_before: int) -> None:
        self._script, self._lines_before = script, lines_before
        self._start = self._end = 0

    def follow(self, statement: str) -> None:
        # A statement may be told twice, and what triggers do is told in words of its own.
        if statement and self._script.startswith(statement, self._end):
            self._start, self._end = self._end, self._end + len(statement)

    @property
    def line(self) -> int:
        begins = self._start + len(head_of(self._script[self._start :]))
        return max(1, self._script.count("\n", 0, begins) + 1 - self._lines_before)


def _said(error: Exception, line: int) -> str:
    if str(error) == "not authorized":
        return (
            f"at line {line} or after it, it begins or ends a transaction itself; each file is one already "
            "(a file that begins with the comment `-- manyarm: no transaction` runs outside of one)"
        )
    # What broke a rule of the data was under way; all else may have been found in the statement after it.
    return f"at line {line}{'' if isinstance(error, sqlite3.IntegrityError) else ' or after it'}: {error}"


SESSION = SqliteSession

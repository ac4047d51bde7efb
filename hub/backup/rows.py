"""Every row of a database as text, and back: the same for SQLite and PostgreSQL, so a backup of one fits the other.

    rows/<table>:  a JSON list of column names, then a JSON list a row; bytes are {"b": base64}

Reading is one look at one moment: a copy by SQLite's online backup, or a repeatable-read transaction of PostgreSQL.
"""

import base64
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

import psycopg
from peewee import Database

from hub.backup.errors import BackupDamaged
from hub.storage.database import is_postgres, sqlite_path
from hub.storage.models import ALL_TABLES

HISTORY = "schema_migration"
PREFIX = "rows/"

_AT_ONCE = 100
_LINE_MAX = 256 * 1024 * 1024
_ENCODER = json.JSONEncoder(separators=(",", ":"), default=lambda found: {"b": _text_of(found)})


class Snapshot(Protocol):
    """A database as it was at one moment."""

    def tables(self) -> list[str]: ...
    def columns(self, table: str) -> list[str]: ...
    def select(self, sql: str) -> Iterator[tuple[Any, ...]]: ...


@contextmanager
def snapshot(database_url: str, beside: Path) -> Iterator[Snapshot]:
    """The database as it is now, whatever is written to it while the snapshot is read.

    Args:
        database_url: As the settings name it.
        beside: Where there is room for a copy of a SQLite database; the copy is gone afterwards.
    """
    if is_postgres_url(database_url):
        with psycopg.connect(database_url, connect_timeout=10) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            yield _Postgres(connection)
        return
    copy = beside.with_name(f".{beside.name}.{os.urandom(4).hex()}.db")
    os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600))
    try:
        with closing(sqlite3.connect(copy)) as target:
            # All pages in one step: what is written meanwhile goes to the WAL, and the copy does not begin anew.
            with closing(sqlite3.connect(f"{sqlite_path(database_url).as_uri()}?mode=ro", uri=True)) as source:
                source.backup(target)
            yield _Sqlite(target)
    finally:
        for end in ("", "-wal", "-shm", "-journal"):
            copy.with_name(copy.name + end).unlink(missing_ok=True)


def is_postgres_url(database_url: str) -> bool:
    return database_url.startswith(("postgresql://", "postgres://"))


def in_order(tables: Iterable[str]) -> list[str]:
    """Parents before children, as the catalogue of models has them; a table that it does not name comes last."""
    places = {model.table_name(): at for at, model in enumerate(ALL_TABLES)}
    return sorted((name for name in tables if name != HISTORY), key=lambda name: (places.get(name, len(places)), name))


def rows_of(found: Snapshot, table: str) -> Iterator[bytes]:
    """One table, some rows at a time."""
    names = found.columns(table)
    yield _line(names)
    listed = ", ".join(f'"{name}"' for name in names)
    waiting: list[bytes] = []
    size = 0
    for row in found.select(f'SELECT {listed} FROM "{table}"'):  # noqa: S608  Names of our own tables, as the database has them.
        line = _line(row)
        waiting.append(line)
        size += len(line)
        if len(waiting) >= _AT_ONCE or size > 1024 * 1024:
            yield b"".join(waiting)
            waiting, size = [], 0
    yield b"".join(waiting)


def put_rows(database: Database, table: str, blocks: Iterable[bytes]) -> int:
    """Write one table's rows into tables that are empty; how many there were. Inside the caller's transaction.

    Raises:
        BackupDamaged: these are no rows of that table.
    """
    lines = _lines(blocks, table)
    try:
        names = [str(name) for name in next(lines)]
        if set(names) != {column.name for column in database.get_columns(table)}:
            raise BackupDamaged(f"the columns of table {table} are not those that it should have")
        put = _copy_in if is_postgres(database) else _insert
        return put(database, table, names, lines)
    except (StopIteration, sqlite3.Error, psycopg.DataError) as error:
        raise BackupDamaged(f"the rows of table {table} cannot be written: {type(error).__name__}") from error


def set_sequences(database: Database) -> None:
    """On PostgreSQL, numbers that the database gives go on behind those that were put in."""
    if not is_postgres(database):
        return
    for table in database.get_tables():
        for column in database.get_columns(table):
            if column.default is not None and str(column.default).startswith("nextval("):
                database.execute_sql(  # type: ignore[no-untyped-call]  # peewee.
                    f"SELECT setval(pg_get_serial_sequence('\"{table}\"', '{column.name}'),"  # noqa: S608  Our own names.
                    f' (SELECT coalesce(max("{column.name}"), 0) + 1 FROM "{table}"), false)'
                )


class _Sqlite:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def tables(self) -> list[str]:
        return [name for (name,) in self.select("SELECT name FROM sqlite_master WHERE type = 'table'") if _ours(name)]

    def columns(self, table: str) -> list[str]:
        return [str(row[1]) for row in self.select(f'PRAGMA table_info("{table}")')]

    def select(self, sql: str) -> Iterator[tuple[Any, ...]]:
        yield from self._connection.execute(sql)


class _Postgres:
    def __init__(self, connection: "psycopg.Connection[Any]") -> None:
        self._connection = connection

    def tables(self) -> list[str]:
        return [name for (name,) in self.select("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")]

    def columns(self, table: str) -> list[str]:
        listed = self._connection.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = current_schema()"
            " AND table_name = %s ORDER BY ordinal_position",
            (table,),
        )
        return [str(name) for (name,) in listed.fetchall()]

    def select(self, sql: str) -> Iterator[tuple[Any, ...]]:
        # With a name it is the server's cursor: rows come some at a time.
        with self._connection.cursor(name=f"rows_{os.urandom(4).hex()}") as cursor:
            cursor.itersize = _AT_ONCE
            yield from cursor.execute(sql.encode())


def _insert(database: Database, table: str, names: Sequence[str], lines: Iterator[list[Any]]) -> int:
    listed = ", ".join(f'"{name}"' for name in names)
    text = f'INSERT INTO "{table}" ({listed}) VALUES ({", ".join("?" * len(names))})'  # noqa: S608  Checked above.
    count = 0
    cursor = database.cursor()  # type: ignore[no-untyped-call]  # peewee.
    while part := [row for _, row in zip(range(_AT_ONCE), lines, strict=False)]:
        cursor.executemany(text, part)
        count += len(part)
    return count


def _copy_in(database: Database, table: str, names: Sequence[str], lines: Iterator[list[Any]]) -> int:
    listed = ", ".join(f'"{name}"' for name in names)
    is_bool = {column.name for column in database.get_columns(table) if column.data_type == "boolean"}
    bools = [at for at, name in enumerate(names) if name in is_bool]
    count = 0
    with database.cursor().copy(f'COPY "{table}" ({listed}) FROM STDIN') as copy:  # type: ignore[no-untyped-call]  # peewee.
        for row in lines:
            for at in bools:
                row[at] = None if row[at] is None else bool(row[at])
            copy.write_row(row)
            count += 1
    return count


def _lines(blocks: Iterable[bytes], table: str) -> Iterator[list[Any]]:
    waiting = b""
    for block in blocks:
        *whole, waiting = (waiting + block).split(b"\n")
        yield from (_row(line, table) for line in whole)
        if len(waiting) > _LINE_MAX:
            raise BackupDamaged(f"a row of table {table} is too long")
    if waiting:
        raise BackupDamaged(f"the last row of table {table} is cut short")


def _row(line: bytes, table: str) -> list[Any]:
    try:
        return [base64.b64decode(found["b"]) if isinstance(found, dict) else found for found in json.loads(line)]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BackupDamaged(f"a row of table {table} cannot be read") from error


def _line(row: Sequence[Any]) -> bytes:
    return _ENCODER.encode(list(row)).encode("ascii") + b"\n"


def _text_of(found: Any) -> str:
    if not isinstance(found, bytes | bytearray | memoryview):
        raise TypeError(f"a column holds a {type(found).__name__}")
    return base64.b64encode(bytes(found)).decode("ascii")


def _ours(table: str) -> bool:
    return not table.startswith("sqlite_")

"""One database behind one door: how it is opened, and the one way to write.

On SQLite a write takes the lock before it reads (IMMEDIATE), so that two writers wait for one another instead of
failing; on PostgreSQL an ordinary transaction does. Connections belong to threads: whoever starts a thread wraps its
work in `with connection():`.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from filelock import FileLock, Timeout
from peewee import Database, InterfaceError, OperationalError, PostgresqlDatabase, SqliteDatabase
from playhouse.migrations import Runner
from playhouse.pool import MaxConnectionsExceeded

from hub.errors import AlreadyRunning, Invalid
from hub.storage import patience
from hub.storage.models.table import database_proxy
from hub.storage.postgres import HubPostgres

MIGRATIONS = Path(__file__).parent / "migrations"

_PRAGMAS = {
    "journal_mode": "wal",
    "synchronous": "normal",
    "foreign_keys": 1,
    "busy_timeout": 5000,
    "temp_store": "memory",  # Sorting never writes a row to a temporary file in the clear.
    "cache_size": -16_000,
}
_MIGRATION_LOCK = 0x4D414E59_41524D01  # "MANYARM" 1: ours among whatever else locks on this PostgreSQL.
_START_LOCK = 0x4D414E59_41524D02

_writers = threading.RLock()
_local = threading.local()


@dataclass(slots=True)
class Transaction:
    """What waits for the commit of one `write_tx`."""

    pending: list[Any] = field(default_factory=list)  # Events and seals, which `finish` chains as the last act.
    finish: Callable[["Transaction"], None] | None = None
    after_commit: list[Callable[[], None]] = field(default_factory=list)


def open_database(url: str) -> Database:
    """Bind the models to a database. Nothing is read or written but an empty SQLite file, made 0600 if there is none.

    Args:
        url: A path, `sqlite:///…`, or `postgresql://…`.
    """
    if is_postgres_url(url):
        database: Database = HubPostgres(url)
    else:
        path = sqlite_path(url)
        _create_private(path)
        # A reader in another thread would share nothing: each thread has its own connection, never a pooled one.
        database = SqliteDatabase(str(path), pragmas=_PRAGMAS, autoconnect=False, timeout=5)
    database_proxy.initialize(database)
    return database


def sqlite_path(url: str) -> Path:
    """The file of a SQLite URL; a relative one is relative to the working directory."""
    if not url.startswith("sqlite:"):
        if "://" in url:
            raise Invalid(f"database {url.partition('://')[0]!r}: expected sqlite or postgresql", field="database_url")
        return Path(url).absolute()
    if not url.startswith("sqlite:///"):
        raise Invalid("database: expected sqlite:///relative or sqlite:////absolute", field="database_url")
    return Path(unquote(url.removeprefix("sqlite:///"))).absolute()


def is_postgres_url(url: str) -> bool:
    return url.startswith(("postgresql://", "postgres://"))


def is_postgres(database: Database | None = None) -> bool:
    return isinstance(database if database is not None else database_proxy.obj, PostgresqlDatabase)


def flush_wal(database: Database) -> bool:
    """Move what was committed into the SQLite file itself; False where others are in the way."""
    if not isinstance(database, SqliteDatabase):
        return True
    (busy, _, _) = database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()  # type: ignore[no-untyped-call]  # peewee.
    return not busy


@contextmanager
def connection() -> Iterator[Database]:
    """The connection of the calling thread: the one it has, or a new one, closed at the end. May be nested."""
    database = database_proxy.obj
    if not database.is_closed():
        _mend(database)
        yield database
        return
    database.connect()
    try:
        yield database
    finally:
        if not database.is_closed():
            database.close()


def keep_connection() -> None:
    """Let the calling thread, which serves for as long as the process lives, have a connection that stays open.

    On PostgreSQL the pool keeps them, and has fewer than there are threads.
    """
    database = database_proxy.obj
    if database is not None and not is_postgres(database) and database.is_closed():
        database.connect()


@contextmanager
def write_tx() -> Iterator[Transaction]:
    """The one way to write: all of it happens, with its events, or none.

    Inside another `write_tx` it is a savepoint of that one. Network, hashing and file work belong outside.
    """
    outer: Transaction | None = getattr(_local, "transaction", None)
    if outer is not None:
        with _savepoint(outer):
            yield outer
        return
    transaction = Transaction()
    guard: Callable[[], None] | None = getattr(_local, "guard", None)
    with connection() as database, _begun(database):
        _local.transaction = transaction
        try:
            if guard is not None:
                guard()
            yield transaction
            if transaction.finish is not None:
                transaction.finish(transaction)
        finally:
            _local.transaction = None
    for act in transaction.after_commit:
        act()


@contextmanager
def guarded(guard: Callable[[], None]) -> Iterator[None]:
    """Every `write_tx` of this thread begins with this: what it raises ends the transaction before it has begun."""
    former: Callable[[], None] | None = getattr(_local, "guard", None)
    _local.guard = guard
    try:
        yield
    finally:
        _local.guard = former


def database_clock_ms() -> int:
    """UTC milliseconds by the clock that all nodes share: PostgreSQL's; a SQLite file has one machine's only."""
    if not is_postgres():
        return time.time_ns() // 1_000_000
    cursor = database_proxy.obj.execute_sql("SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint")
    return int(cursor.fetchone()[0])


def database_is_away(error: BaseException) -> bool:
    """Whether it failed for the database's sake (locked, stopped, cut off) and may go well later, unchanged."""
    return isinstance(error, OperationalError | InterfaceError | MaxConnectionsExceeded)


def is_writing() -> bool:
    """Whether this thread is in a `write_tx`."""
    return getattr(_local, "transaction", None) is not None


def current_transaction() -> Transaction:
    """The `write_tx` that this thread is in.

    Raises:
        RuntimeError: it is in none: the caller forgot.
    """
    transaction: Transaction | None = getattr(_local, "transaction", None)
    if transaction is None:
        raise RuntimeError("this must happen inside write_tx()")
    return transaction


def migrate_up(database: Database, target: str | None = None) -> list[str]:
    """Bring the tables to the present shape; of several hubs that start together one does it, the others wait."""
    with connection(), _migration_lock(database):
        applied: list[str] = Runner(database, str(MIGRATIONS)).up(target)
        return applied


def migrate_down(database: Database, target: str | None = None) -> list[str]:
    """Undo the newest migration, or all back through the target."""
    with connection(), _migration_lock(database):
        reverted: list[str] = Runner(database, str(MIGRATIONS)).down(target)
        return reverted


def pending_migrations(database: Database) -> list[str]:
    with connection():
        return [entry.name for entry in Runner(database, str(MIGRATIONS)).status() if not entry.applied]


@contextmanager
def starting_alone(database: Database) -> Iterator[None]:
    """Of several engines that start together on PostgreSQL one prepares what all of them need, then the next."""
    with connection():
        if not is_postgres(database):
            yield
            return
        with _advisory_lock(database, _START_LOCK):
            yield


@contextmanager
def engine_lock(home: Path, url: str) -> Iterator[None]:
    """One engine for a SQLite file, whatever home it is started from; on PostgreSQL any number.

    Args:
        home: Of the engine that asks; named to the next one.
        url: Of its database.

    Raises:
        AlreadyRunning: another process holds it; the message names it.
    """
    if is_postgres_url(url):
        yield
        return
    file = sqlite_path(url)
    _create_private(file)
    # By its own name: a link to the file is the same file.
    file = file.resolve()
    holder = file.with_name(f"{file.name}.engine")
    lock = FileLock(f"{holder}.lock", mode=0o600)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        first = holder.read_text().strip() if holder.exists() else "whose name is not known"
        raise AlreadyRunning(
            f"an engine, {first}, already works on {file}: a SQLite file takes one; for several nodes set "
            "MANYARM_DATABASE_URL to a PostgreSQL"
        ) from error
    try:
        holder.write_text(f"pid {os.getpid()} on {socket.gethostname()} of {home}\n")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


@contextmanager
def _begun(database: Database) -> Iterator[None]:
    if is_postgres(database):
        with database.atomic():
            yield
        return
    # Threads of one process queue here, fairly, rather than in SQLite's busy handler, which sleeps and tries again.
    with _write_turn(database), database.atomic("IMMEDIATE"):
        yield


@contextmanager
def _write_turn(database: Database) -> Iterator[None]:
    may_wait_s = patience.left()
    if may_wait_s is None:
        with _writers:
            yield
        return
    with patience.waiting():
        is_ours = _writers.acquire(timeout=may_wait_s)
    if not is_ours:
        raise OperationalError("the database is locked")
    try:
        # What is left is what the lock of another process may take.
        assert isinstance(database, SqliteDatabase)
        database.pragma("busy_timeout", int(1000 * (patience.left() or 0)))
        yield
    finally:
        _writers.release()


@contextmanager
def _savepoint(outer: Transaction) -> Iterator[None]:
    events, acts = len(outer.pending), len(outer.after_commit)
    with database_proxy.obj.savepoint():
        try:
            yield
        except BaseException:
            del outer.pending[events:], outer.after_commit[acts:]
            raise


@contextmanager
def _migration_lock(database: Database) -> Iterator[None]:
    if is_postgres(database):
        with _advisory_lock(database, _MIGRATION_LOCK):
            yield
        return
    with FileLock(f"{database.database}.migrating", mode=0o600):
        yield


@contextmanager
def _advisory_lock(database: Database, number: int) -> Iterator[None]:
    database.execute_sql("SELECT pg_advisory_lock(%s)", (number,))  # type: ignore[no-untyped-call]  # peewee.
    try:
        yield
    finally:
        database.execute_sql("SELECT pg_advisory_unlock(%s)", (number,))  # type: ignore[no-untyped-call]


def _mend(database: Database) -> None:
    """A PostgreSQL that was away leaves dead connections behind; between transactions they are replaced."""
    if not database.in_transaction() and not database.is_connection_usable():
        database.close()
        database.connect()


def _create_private(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600))
    except FileExistsError:
        return

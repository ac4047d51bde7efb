"""Whether a backup may go where it is to go, found out before anything is written: the key, the release, the place."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from hub.backup.container import Head
from hub.backup.creating import key_place
from hub.backup.errors import BackupUnfit
from hub.backup.rows import is_postgres_url
from hub.daemon import running_state
from hub.errors import AlreadyRunning, Invalid, MasterKeyMissing, MasterKeyWrong, Unavailable
from hub.storage.database import MIGRATIONS, sqlite_path
from hub.storage.vault import open_sealed
from hub.storage.vault_master import MasterKey, PassphraseCost, stretch


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the hub is to be, as its settings say."""

    home: Path
    database: str
    master_key_source: str
    clock_ms: Callable[[], int]


def master_key(destination: Destination, head: Head, passphrase: Callable[[], str]) -> tuple[MasterKey, bool]:
    """The key that opens the backup, and whether it is to be kept here first.

    Raises:
        MasterKeyMissing, MasterKeyWrong: names the one that the backup needs. Invalid: the passphrase is wrong.
    """
    try:
        master, is_new = MasterKey.read(destination.master_key_source, destination.home), False
    except MasterKeyMissing as error:
        if head.key is None:
            raise MasterKeyMissing(
                f"{error.detail}; {_needed(head)}. Set MANYARM_MASTER_KEY to where it is, or write the recovery string "
                "into a new key file (mode 0600); nothing was changed"
            ) from error
        master, is_new = _opened_key(head, passphrase()), True
    compare(master, head)
    return master, is_new


def compare(master: MasterKey, head: Head) -> None:
    """Raises MasterKeyWrong unless the backup was made under this key."""
    if master.check != head.mk_check:
        raise MasterKeyWrong(
            f"master key {master.id} was given, {_needed(head)}: give that one (its recovery string in a new key file, "
            "named by MANYARM_MASTER_KEY); nothing was changed"
        )


def _needed(head: Head) -> str:
    day = datetime.fromtimestamp(head.mk_created / 1000, UTC).strftime("%Y-%m-%d")
    return f"the backup needs {head.mk_check[:8]} (of the hub that was installed on {day})"


def _opened_key(head: Head, phrase: str) -> MasterKey:
    assert head.key is not None
    cost = PassphraseCost(head.key.ops, head.key.memory_bytes)
    wrapping = stretch(phrase, bytes.fromhex(head.key.salt), cost)
    key = open_sealed(wrapping, key_place(head.id), bytes.fromhex(head.key.sealed))
    if key is None:
        raise Invalid("the passphrase does not open the master key in the backup", field="passphrase")
    return MasterKey(key)


def refuse_newer(head: Head) -> None:
    """Raises BackupUnfit for tables that this release does not know."""
    known = sorted(path.stem for path in MIGRATIONS.glob("[0-9]*.py"))
    if list(head.migrations) != known[: len(head.migrations)]:
        unknown = [name for name in head.migrations if name not in known]
        raise BackupUnfit(
            f"the backup was made by Manyarm {head.software}, whose tables this one does not know"
            f"{f' ({unknown[0]})' if unknown else ''}: restore it with that release or a later one; nothing was changed"
        )


def refuse_running(home: Path, database_url: str) -> None:
    """Raises AlreadyRunning where a hub works on this home or database."""
    if running_state(home) is not None:
        raise AlreadyRunning(f"a hub runs from {home}: stop it first; nothing was changed")
    if is_postgres_url(database_url):
        _refuse_connected(database_url)


def refuse_in_use(destination: Destination, *, replace: bool) -> None:
    """Raises AlreadyRunning; BackupUnfit where a hub is and nobody said that it may make way."""
    home = destination.home
    refuse_running(home, destination.database)
    found = [str(folder) for folder in (home / "chunks" / "packs", home / "artifacts") if _is_used(folder)]
    if is_postgres_url(destination.database):
        found += _in_postgres(destination.database)
    elif (path := sqlite_path(destination.database)).exists() and path.stat().st_size:
        found.append(str(path))
    if found and not replace:
        raise BackupUnfit(
            f"there is a hub already ({', '.join(found)}): with --replace the backup takes its place; "
            "nothing was changed"
        )


def _is_used(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _refuse_connected(url: str) -> None:
    found = _asked(
        url,
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
    )
    if found[0][0]:
        raise AlreadyRunning(
            f"{found[0][0]} others are connected to the database: stop every part of the hub first; nothing was changed"
        )


def _in_postgres(url: str) -> list[str]:
    tables = _asked(url, "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
    return [f"{len(tables)} tables in the database"] if tables else []


def _asked(url: str, sql: str) -> list[tuple[Any, ...]]:
    try:
        with psycopg.connect(url, options="-c default_transaction_read_only=on", connect_timeout=10) as reader:
            return reader.execute(sql.encode()).fetchall()
    except psycopg.OperationalError as error:
        raise Unavailable(f"the database does not answer: {str(error).splitlines()[0]}") from error

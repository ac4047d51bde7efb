"""`manyarm backup restore`: a hub put back to what it was, in a new epoch.

    head  >  does the key fit, is the place free  >  every byte is checked  >  rows, new epoch  >  files  >  in place

Nothing is written before all of the file was found sound. Files go where they belong beside what is there: they are
named by ids and never change. The database appears whole at the end, or not at all.
"""

import contextlib
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from peewee import Database

from hub.acting import Itself
from hub.backup import container
from hub.backup.container import Entry, Head
from hub.backup.creating import ARTIFACT, INCOMING, PACK
from hub.backup.errors import BackupDamaged
from hub.backup.fitting import Destination, compare, master_key, refuse_in_use, refuse_newer
from hub.backup.new_epoch import Begun, begin_epoch, close_the_past, restored_words
from hub.backup.rows import PREFIX, in_order, is_postgres_url, put_rows, set_sequences
from hub.errors import Invalid
from hub.storage.database import (
    connection,
    engine_lock,
    flush_wal,
    migrate_up,
    open_database,
    sqlite_path,
    write_tx,
)
from hub.storage.hub_trust import load_seals
from hub.storage.models import DataKey
from hub.storage.vault import ProcessClass, Vault
from hub.storage.vault_master import MasterKey, write_private
from wire.crash import crash_point

_ENDS = ("-wal", "-shm")
_PLACES: dict[str, tuple[re.Pattern[str], Callable[[str], Path]]] = {
    PACK: (re.compile(r"[0-9a-f]{32}"), lambda name: Path("chunks", "packs", name)),
    ARTIFACT: (re.compile(r"[0-9a-f]{32}"), lambda name: Path("artifacts", "artifact", name[:2], f"{name}.maf")),
    INCOMING: (re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"), lambda name: Path("incoming", name)),
}


@dataclass(frozen=True, slots=True)
class Restored:
    """What became of it. `set_aside`: what was there before, "" for nothing."""

    head: Head
    rows: int
    files: int
    begun: Begun
    set_aside: str = ""


def restore(
    destination: Destination, file: Path, *, replace: bool = False, passphrase: Callable[[], str], above: int = 0
) -> Restored:
    """Put the hub back.

    Args:
        destination: Where to.
        file: The backup.
        replace: Also where a hub is already; its database is set aside, on PostgreSQL it goes.
        passphrase: Asked where the backup brings its master key and there is none here.
        above: A version of the trust document that spokes are known to have.

    Raises:
        MasterKeyMissing, MasterKeyWrong: says which one the backup needs. BackupDamaged: says what of it is.
        BackupUnfit: it is of a newer release, or a hub is here. AlreadyRunning: and it lives.
        Nothing was written then.
    """
    with file.open("rb") as stream:
        head, _ = Head.read(stream)
    master, is_new_key = master_key(destination, head, passphrase)
    refuse_newer(head)
    refuse_in_use(destination, replace=replace)
    verify(file, master)
    with engine_lock(destination.home, destination.database), _staging(destination.home) as staged:
        if is_new_key:
            _keep_key(destination, master)
        with _database(destination) as database:
            rows, files = _unpack(file, master, database, head, staged)
            crash_point("restore.unpacked")
            begun = _begin(destination, master, head, above)
            # Before the rows that name them.
            _place(staged, destination.home)
            crash_point("restore.placed")
        set_aside = _put_in_place(destination)
    return Restored(head, rows, files, begun, set_aside)


def verify(file: Path, master: MasterKey) -> tuple[Head, int]:
    """Read all of a backup and write nothing; its head, and how many entries it has.

    Raises:
        MasterKeyWrong: it was made under another one. BackupDamaged: names what is damaged.
    """
    with file.open("rb") as stream:
        head, _ = Head.read(stream)
        compare(master, head)
        stream.seek(0)
        count = 0
        for entry in container.read(stream, master.key):
            if not entry.name.startswith(PREFIX):
                _place_of(entry.name)
            count += 1
    return head, count


@contextmanager
def _staging(home: Path) -> Iterator[Path]:
    """A folder for files on their way; what a restore that was killed has left goes."""
    folder = home / "restoring"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _keep_key(destination: Destination, master: MasterKey) -> None:
    kind, _, rest = destination.master_key_source.partition(":")
    if kind != "file":
        raise Invalid(
            f"the master key in the backup is kept in a file, and MANYARM_MASTER_KEY says {kind}: set file:PATH"
        )
    write_private(Path(rest), master.key.hex() + "\n")


@contextmanager
def _database(destination: Destination) -> Iterator[Database]:
    """The models bound to a database without rows: a new file beside the place, or PostgreSQL until the commit."""
    if is_postgres_url(destination.database):
        database = open_database(destination.database)
        with connection(), database.atomic():
            for table in database.get_tables():
                database.execute_sql(f'DROP TABLE IF EXISTS "{table}" CASCADE')  # type: ignore[no-untyped-call]  # peewee.
            yield database
        return
    path = _unfinished(destination)
    _remove_database(path)
    database = open_database(str(path))
    with connection():
        yield database
        flush_wal(database)
    _sync(path)


def _unpack(file: Path, master: MasterKey, database: Database, head: Head, staged: Path) -> tuple[int, int]:
    """Rows into the database, files into the folder; how many of each."""
    migrate_up(database, head.migrations[-1])
    tables = set(in_order(database.get_tables()))
    for table in reversed(in_order(tables)):
        database.execute_sql(f'DELETE FROM "{table}"')  # type: ignore[no-untyped-call]  # noqa: S608  Our own tables.
    rows = files = 0
    with file.open("rb") as stream, database.atomic():
        for entry in container.read(stream, master.key):
            if entry.name.startswith(PREFIX):
                table = entry.name.removeprefix(PREFIX)
                if table not in tables:
                    raise BackupDamaged(f"it has rows of a table {table!r}, which there is not")
                rows += put_rows(database, table, entry.blocks)
            else:
                _write_file(staged / _place_of(entry.name), entry)
                files += 1
    set_sequences(database)
    migrate_up(database)
    return rows, files


def _begin(destination: Destination, master: MasterKey, head: Head, above: int) -> Begun:
    vault = Vault.open(master.kek(ProcessClass.ENGINE), list(DataKey.select()))
    context = Itself(destination.clock_ms(), vault, load_seals(vault), "console")
    with write_tx():
        begun = begin_epoch(context, forgot_since=head.at, words=restored_words(head.at), above=above)
    close_the_past(context)
    return begun


def _place_of(name: str) -> Path:
    """Where an entry's file belongs in the home: a name of ours, whatever the entry says."""
    for kind, (rule, place) in _PLACES.items():
        rest = name.removeprefix(kind)
        if rest != name and rule.fullmatch(rest):
            return place(rest)
    raise BackupDamaged(f"{name!r} is no name of a file that a hub has")


def _write_file(path: Path, entry: Entry) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600), "wb") as out:
        out.writelines(entry.blocks)
        out.flush()
        os.fsync(out.fileno())


def _place(staged: Path, home: Path) -> None:
    for path in sorted(staged.rglob("*")):
        if path.is_file():
            place = home / path.relative_to(staged)
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.replace(place)
    for folder in ("chunks/packs", "artifacts", "incoming"):
        if (home / folder).is_dir():
            _sync(home / folder)


def _put_in_place(destination: Destination) -> str:
    """A new SQLite file under its name; where the one that was there lies now."""
    if is_postgres_url(destination.database):
        return ""
    path, unfinished = sqlite_path(destination.database), _unfinished(destination)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    set_aside = _set_aside(path, destination.clock_ms()) if path.exists() and path.stat().st_size else ""
    crash_point("restore.aside")
    unfinished.replace(path)
    _remove_database(unfinished)
    _sync(path.parent)
    return set_aside


def _set_aside(path: Path, at_ms: int) -> str:
    # What stands in its WAL goes into the file if it can be read at all; a WAL that stayed would spoil the next one.
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as old:
        old.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    stamp = datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = path.with_name(f"{path.name}.replaced-{stamp}")
    for end in _ENDS:
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + end).rename(aside.with_name(aside.name + end))
    aside.unlink(missing_ok=True)
    os.link(path, aside)
    return str(aside)


def _unfinished(destination: Destination) -> Path:
    path = sqlite_path(destination.database)
    return path.with_name(f".{path.name}.restoring")


def _remove_database(path: Path) -> None:
    for end in ("", *_ENDS, "-journal", ".migrating"):
        path.with_name(path.name + end).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Whether a master key fits the data, found out before anything could be written.

A SQLite file is read without being opened as a database in use: no lock, no WAL, no shared-memory file. Missing, wrong
and damaged are three different messages, because three different things must be done.
"""

import shutil
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from hub.errors import KeyringDamaged, MasterKeyMissing, MasterKeyWrong, NotFound, Unavailable
from hub.storage.database import is_postgres_url, sqlite_path
from hub.storage.vault_master import MasterKey
from hub.storage.vault_rotation import finish as finished
from hub.storage.vault_rotation import half_way, is_half_way, next_key

_INSTALLATION = "SELECT mk_check, created_at FROM installation WHERE id = 1"
_KEYRING = "SELECT DISTINCT mk_check FROM data_key"


@dataclass(frozen=True, slots=True)
class StoredCheck:
    """Which master key the data was made under."""

    check: str
    created_at: int

    @property
    def sentence(self) -> str:
        day = datetime.fromtimestamp(self.created_at / 1000, UTC).strftime("%Y-%m-%d")
        return f"the data needs {self.check[:8]} (created {day})"


def unlock(source: str, home: Path, database_url: str, *, finish: bool = True) -> MasterKey:
    """The master key of an installed hub: read, and proved to fit, with nothing written.

    Where a rotation of the master key was killed after it counted, it is finished now; not with `finish` False.

    Raises:
        NotFound: there is no installed hub.
        MasterKeyMissing, MasterKeyWrong, MasterKeyExposed, KeyringDamaged: as they say.
    """
    stored = stored_check(database_url)
    if stored is None:
        raise NotFound(f"no hub is installed in {home}: run `manyarm init` first", code="NOT_INSTALLED")
    if is_half_way(source, home):
        stored = _as_it_stands(database_url) or stored
        # As long as it says so in its WAL alone, the key that lies beside is the mark of it.
        finish = finish and _is_in_the_file(database_url, stored)
    try:
        master = _fitting(source, home, stored, finish=finish)
    except MasterKeyMissing as error:
        raise MasterKeyMissing(
            f"{error.detail}; {stored.sentence}. Set MANYARM_MASTER_KEY to where it is, or write the recovery string "
            "into a new key file (mode 0600)"
        ) from error
    compare(master.check, stored)
    return master


def _fitting(source: str, home: Path, stored: StoredCheck, *, finish: bool) -> MasterKey:
    try:
        master = MasterKey.read(source, home)
    except MasterKeyMissing:
        found = half_way(source, home, stored.check)
        if found is None or not found.counts:
            raise
    else:
        if master.check == stored.check:
            return master
        found = half_way(source, home, stored.check)
        if found is None or not found.counts:
            return master
    return finished(found, source, home) if finish else next_key(found, source, home)


def compare(check: str, stored: StoredCheck) -> None:
    """Raises MasterKeyWrong unless they are the same."""
    if check != stored.check:
        raise MasterKeyWrong(f"master key {check[:8]} was given, {stored.sentence}: give that one; nothing was changed")


def stored_check(database_url: str) -> StoredCheck | None:
    """What the data says; None: there is no hub in it.

    Raises:
        KeyringDamaged: it contradicts itself, or cannot be read.
    """
    if database_url.startswith(("postgresql://", "postgres://")):
        return _read_postgres(database_url)
    path = sqlite_path(database_url)
    if not path.exists() or path.stat().st_size == 0:
        return None
    try:
        found = _read_sqlite(path)
    except KeyringDamaged:
        if not _has_wal(path):
            raise
        found = None
    # A hub that died in its first minute has its rows in the WAL alone; a copy may be opened as a database.
    return _read_copy(path) if found is None and _has_wal(path) else found


def _as_it_stands(database_url: str) -> StoredCheck | None:
    """With what stands in the WAL alone, where a rotation that was killed may have left it."""
    if is_postgres_url(database_url):
        return None
    return _read_sqlite(sqlite_path(database_url), immutable=False)


def _is_in_the_file(database_url: str, stored: StoredCheck) -> bool:
    if is_postgres_url(database_url):
        return True
    with closing(sqlite3.connect(sqlite_path(database_url), timeout=5)) as writer:
        writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return stored_check(database_url) == stored


def _wal_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _has_wal(path: Path) -> bool:
    wal = _wal_of(path)
    return wal.exists() and wal.stat().st_size > 0


def _read_copy(path: Path) -> StoredCheck | None:
    with tempfile.TemporaryDirectory(prefix="manyarm-") as folder:
        copy = Path(shutil.copy(path, folder))
        shutil.copy(_wal_of(path), folder)
        return _read_sqlite(copy, immutable=False)


def _read_sqlite(path: Path, *, immutable: bool = True) -> StoredCheck | None:
    mode = "mode=ro&immutable=1" if immutable else "mode=rw"
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?{mode}", uri=True)) as reader:
            tables = {name for (name,) in reader.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not {"installation", "data_key"} <= tables:
                return None
            return _judge(reader.execute(_INSTALLATION).fetchall(), reader.execute(_KEYRING).fetchall())
    except sqlite3.DatabaseError as error:
        raise KeyringDamaged(f"{path}: it cannot be read as a database: {error}; restore it from a backup") from error


def _read_postgres(url: str) -> StoredCheck | None:
    try:
        with psycopg.connect(url, options="-c default_transaction_read_only=on", connect_timeout=10) as reader:
            found = reader.execute("SELECT to_regclass('installation'), to_regclass('data_key')").fetchone()
            if found is None or None in found:
                return None
            return _judge(reader.execute(_INSTALLATION).fetchall(), reader.execute(_KEYRING).fetchall())
    except psycopg.OperationalError as error:
        raise Unavailable(f"the database does not answer: {str(error).splitlines()[0]}") from error


def _judge(installation: list[tuple[str, int]], keyring: list[tuple[str]]) -> StoredCheck | None:
    if not installation and not keyring:
        return None
    if not installation or not keyring:
        half = "keyring" if not keyring else "installation row"
        raise KeyringDamaged(f"the {half} is missing: the hub was half installed or altered; restore from a backup")
    check, created_at = installation[0]
    if {one for (one,) in keyring} != {check}:
        raise KeyringDamaged("keyring and installation name different master keys; restore the keyring from a backup")
    return StoredCheck(check, created_at)

"""`manyarm backup create`: one consistent file of a hub that goes on working.

    rows, as of one moment  >  the files that they name, linked aside so that nobody's clearing up takes them  >  FILE

A file is on disk before a row names it and changes never, so rows first and files after fit together. The master key is
left out unless somebody asks for it, and then it lies under a passphrase.
"""

import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hub.backup import container
from hub.backup.container import Entry, Head, SealedKey
from hub.backup.rows import HISTORY, PREFIX, Snapshot, in_order, is_postgres_url, rows_of, snapshot
from hub.errors import Conflict, Invalid, NotFound
from hub.storage.vault import length_prefixed, seal_bytes
from hub.storage.vault_master import PASSPHRASE_LEAST, MasterKey, PassphraseCost, stretch
from wire.keys import new_id

PACK, ARTIFACT, INCOMING = "pack/", "artifact/", "incoming/"

_READ = 1024 * 1024
_TRIES = 3
_LEFT_S = 86_400
_ID = re.compile(r"[0-9a-f]{32}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class Source:
    """A hub as a backup sees it."""

    home: Path
    database: str
    master: MasterKey
    software: str
    clock_ms: Callable[[], int]


@dataclass(frozen=True, slots=True)
class Made:
    """What became of it. `missing`: files that the rows name and that are not there any more."""

    head: Head
    size: int
    sha256: str
    entries: int
    missing: tuple[str, ...] = ()


class _Vanished(Exception):
    """A file went between the look at the rows and ours: the rows are looked at again."""


def create(source: Source, file: Path, *, passphrase: str = "", cost: PassphraseCost | None = None) -> Made:
    """Write the backup into `file`, which appears only when all of it is on disk.

    Args:
        source: The hub; it may be working.
        file: Must not exist; its folder has room for the backup and a copy of the database.
        passphrase: With one, the master key lies in the file, under it.
        cost: Of a guess at the passphrase.

    Raises:
        Conflict: the file exists.
        Invalid: the passphrase is short.
    """
    if file.exists() or file.is_symlink():
        raise Conflict(f"{file} exists already; it is not written over")
    if passphrase and len(passphrase) < PASSPHRASE_LEAST:
        raise Invalid(f"a passphrase has at least {PASSPHRASE_LEAST} characters", field="passphrase")
    for tries_left in reversed(range(_TRIES)):
        try:
            return _create(source, file, passphrase, cost or PassphraseCost(), strict=tries_left > 0)
        except _Vanished:
            continue
    raise AssertionError("the last try takes what is there")


def _create(source: Source, file: Path, passphrase: str, cost: PassphraseCost, *, strict: bool) -> Made:
    """`strict`: look anew where a file is missing, instead of saying so."""
    at = source.clock_ms()
    with snapshot(source.database, file) as found, _aside(source.home) as aside:
        files = _Files(source.home, aside, found)
        if files.missing and strict:
            raise _Vanished
        head = _head(source, found, at, passphrase, cost)
        with _appearing(file) as unfinished:
            with _created(unfinished) as out:
                written = container.write(out, head, source.master.key, [*_tables(found), *files.entries()])
            size, digest = unfinished.stat().st_size, _sha256(unfinished)
    return Made(head, size, digest, len(written.entries), tuple(files.missing))


def _tables(found: Snapshot) -> Iterator[Entry]:
    for table in in_order(found.tables()):
        yield Entry(PREFIX + table, rows_of(found, table))


class _Files:
    """The files that the rows of one moment name, each held by a link of ours."""

    def __init__(self, home: Path, aside: Path, found: Snapshot) -> None:
        self._aside = aside
        self._kept: list[tuple[str, Path]] = []
        self.missing: list[str] = []
        for (pack,) in found.select("SELECT id FROM pack ORDER BY id"):
            self._keep(PACK + pack, home / "chunks" / "packs" / pack, _ID.fullmatch(pack))
        for (artifact,) in found.select("SELECT id FROM artifact WHERE state = 'stored' ORDER BY id"):
            path = home / "artifacts" / "artifact" / artifact[:2] / f"{artifact}.maf"
            self._keep(ARTIFACT + artifact, path, _ID.fullmatch(artifact))
        for (name,) in found.select("SELECT path FROM gateway_inbox WHERE path IS NOT NULL ORDER BY path"):
            # What the engine takes in meanwhile is not missing: its spoke brings it again if somebody asks.
            if (home / "incoming" / name).exists():
                self._keep(INCOMING + name, home / "incoming" / name, _NAME.fullmatch(name))

    def entries(self) -> Iterator[Entry]:
        return (Entry(name, _blocks(path)) for name, path in self._kept)

    def _keep(self, name: str, path: Path, is_ours: object) -> None:
        if is_ours is None:
            raise Conflict(f"{name!r} is no name that the hub gives to a file; see `manyarm doctor`")
        link = self._aside / str(len(self._kept))
        try:
            os.link(path, link, follow_symlinks=False)
        except FileNotFoundError:
            self.missing.append(name)
            return
        except OSError:
            # Where links are not to be had it is read where it lies.
            link = path
        self._kept.append((name, link))


def _head(source: Source, found: Snapshot, at: int, passphrase: str, cost: PassphraseCost) -> Head:
    installed = next(found.select("SELECT hub_id, mk_check, created_at, epoch FROM installation"), None)
    if installed is None:
        raise NotFound("no hub is installed: there is nothing to keep", code="NOT_INSTALLED")
    hub, mk_check, created_at, epoch = installed
    if mk_check != source.master.check:
        raise Conflict("the master key was replaced just now; try again")
    backup = new_id()
    return Head(
        id=backup,
        hub=hub,
        at=at,
        mk_check=mk_check,
        mk_created=created_at,
        salt=os.urandom(32).hex(),
        database="postgresql" if is_postgres_url(source.database) else "sqlite",
        software=source.software,
        migrations=tuple(sorted(name for (name,) in found.select(f"SELECT name FROM {HISTORY}"))),  # noqa: S608  Ours.
        epoch=epoch,
        trust_version=next(found.select("SELECT max(version) FROM trust_frame"))[0],
        events=next(found.select("SELECT coalesce(max(seq), 0) FROM event"))[0],
        key=_sealed_key(source.master, backup, passphrase, cost) if passphrase else None,
    )


def _sealed_key(master: MasterKey, backup: str, passphrase: str, cost: PassphraseCost) -> SealedKey:
    salt = os.urandom(16)
    sealed = seal_bytes(stretch(passphrase, salt, cost), key_place(backup), master.key)
    return SealedKey(salt.hex(), cost.ops, cost.memory_bytes, sealed.hex())


def key_place(backup: str) -> bytes:
    """Where a sealed master key lies: in this backup's head and nowhere else."""
    return length_prefixed("manyarm/v1/backup-key", backup)


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_READ):
            yield block


@contextmanager
def _aside(home: Path) -> Iterator[Path]:
    """A folder for links, on the file system of what is linked; gone afterwards."""
    for left in (home / "run").glob("backup-*"):
        # Of one that was killed: its links keep the room of files that are gone.
        if time.time() - left.stat().st_mtime > _LEFT_S:
            shutil.rmtree(left, ignore_errors=True)
    folder = home / "run" / f"backup-{os.urandom(4).hex()}"
    folder.mkdir(mode=0o700, parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _appearing(file: Path) -> Iterator[Path]:
    """A name under which it is written; at the end it has its own, or nothing is there."""
    unfinished = file.with_name(f".{file.name}.{os.urandom(4).hex()}.new")
    try:
        yield unfinished
        try:
            # Not over a file that came meanwhile.
            os.link(unfinished, file)
        except FileExistsError as error:
            raise Conflict(f"{file} exists already; it is not written over") from error
        except OSError:
            unfinished.rename(file)
        _sync(file.parent)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def _created(path: Path) -> Iterator[BinaryIO]:
    """A new file for us alone, on disk when this ends."""
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600), "wb") as out:
        yield out
        out.flush()
        os.fsync(out.fileno())


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    for block in _blocks(path):
        digest.update(block)
    return digest.hexdigest()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def listed(missing: Sequence[str]) -> str:
    """A few of them in words."""
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    return ", ".join(missing[:3]) + more

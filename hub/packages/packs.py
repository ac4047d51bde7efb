"""Pack files: many sealed chunks in one file, written once, never changed.

    "MAP1" | then for each chunk: 32-byte chunk id | u32 length | stored bytes

A pack is written under incoming/ by one upload alone, made durable, then renamed into packs/: a crash leaves only
files that no row names. The rows Pack and Chunk are the index; the ids inside let it be made again.
"""

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from hub.packages.errors import raising_no_space
from wire.crash import crash_point
from wire.keys import new_id

PACK_BYTES = 64 * 1024 * 1024
_MAGIC = b"MAP1"
_RECORD = struct.Struct(">32sI")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chunk's stored bytes lie."""

    pack: str
    offset: int
    length: int


class PackFolder:
    """The folder of all packs."""

    def __init__(self, root: Path) -> None:
        self._packs = root / "packs"
        self._incoming = root / "incoming"

    def prepare(self) -> None:
        """Make the folders, for their owner alone."""
        for folder in (self._packs, self._incoming):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def writer(self) -> "PackWriter":
        self.prepare()
        return PackWriter(self._incoming, self._packs)

    def open(self, pack: str) -> "PackReader":
        """Open one pack to read.

        Raises:
            FileNotFoundError: it has been collected.
        """
        return PackReader(self._packs / pack)

    def remove(self, pack: str) -> None:
        (self._packs / pack).unlink(missing_ok=True)

    def sizes(self) -> dict[str, int]:
        """Every pack on disk with its bytes."""
        return _sizes(self._packs)

    def strays(self, known: set[str], older_than_s: float) -> Iterator[Path]:
        """Files that no row names and that nobody can still be writing: what a crash has left."""
        for folder in (self._packs, self._incoming):
            for name in _sizes(folder):
                path = folder / name
                with suppress(FileNotFoundError):
                    if name not in known and path.stat().st_mtime < older_than_s and not _is_being_written(path):
                        yield path

    @property
    def free_bytes(self) -> int:
        self.prepare()
        room = os.statvfs(self._packs)
        return room.f_bavail * room.f_frsize


class PackReader:
    """One open pack; reads from any thread."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)

    def read(self, offset: int, length: int) -> bytes:
        """The stored bytes; shorter where the file has been cut."""
        return os.pread(self._file, length, offset)

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class PackWriter:
    """The packs of one upload: nothing of them stays unless `keep` has been called.

    The files stay open, locked, until then: so a sweep can tell an upload under way from one that died.
    """

    def __init__(self, incoming: Path, packs: Path) -> None:
        self._incoming = incoming
        self._packs = packs
        self._files: dict[str, int] = {}
        self._sizes: dict[str, int] = {}
        self._pack = ""

    def add(self, chunk_id: bytes, stored: bytes) -> Place:
        """Append one chunk.

        Raises:
            NoSpace: the disk is full.
        """
        if not self._pack or self._sizes[self._pack] >= PACK_BYTES:
            self._next()
        offset = self._sizes[self._pack] + _RECORD.size
        with raising_no_space():
            _write_all(self._files[self._pack], _RECORD.pack(chunk_id, len(stored)), stored)
        self._sizes[self._pack] = offset + len(stored)
        return Place(self._pack, offset, len(stored))

    def read(self, place: Place) -> bytes:
        """A chunk that this writer has taken, before it is kept."""
        return os.pread(self._files[place.pack], place.length, place.offset)

    def keep(self) -> dict[str, int]:
        """Make all packs durable under their final names; pack id to size. Rows may name them afterwards."""
        kept = dict(self._sizes)
        with raising_no_space():
            for file in self._files.values():
                os.fsync(file)
        crash_point("packs.written")
        for pack in kept:
            (self._incoming / pack).rename(self._packs / pack)
        if kept:
            _sync_folder(self._packs)
        self._close()
        return kept

    def abandon(self) -> None:
        """Remove whatever has not been kept."""
        for pack in self._sizes:
            (self._incoming / pack).unlink(missing_ok=True)
        self._close()

    def _next(self) -> None:
        pack = new_id()
        with raising_no_space():
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            file = os.open(self._incoming / pack, flags, 0o600)
            self._files[pack], self._sizes[pack] = file, len(_MAGIC)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write_all(file, _MAGIC)
        self._pack = pack

    def _close(self) -> None:
        for file in self._files.values():
            os.close(file)
        self._files, self._sizes, self._pack = {}, {}, ""


def _is_being_written(path: Path) -> bool:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False


def _write_all(file: int, *parts: bytes) -> None:
    waiting = [memoryview(part) for part in parts if part]
    while waiting:
        written = os.writev(file, waiting)
        while waiting and written >= len(waiting[0]):
            written -= len(waiting.pop(0))
        if waiting:
            waiting[0] = waiting[0][written:]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sizes(folder: Path) -> dict[str, int]:
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {entry.name: entry.stat(follow_symlinks=False).st_size for entry in entries}

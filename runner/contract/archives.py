"""Looking into archives and unpacking them: what breaks a rule is refused before a byte is written.

Pass 1 reads every header and (in a compressed tar) counts every byte, and writes nothing. Pass 2 counts the real bytes
again, creates each file without following links, and renames the finished folder into place. Nested archives stay shut.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Iterator, List, Protocol, Tuple

from runner.contract.archive_limits import Entry, Limits
from runner.contract.archive_names import NamesSeen
from runner.contract.errors import ArchiveRefused

ZIP_EXTENSIONS = frozenset({"zip", "nupkg", "whl", "jar"})
TAR_EXTENSIONS = frozenset({"tar", "tar.gz", "tgz", "tar.bz2", "tar.zst"})


@dataclass(frozen=True)
class Inspection:
    entries: Tuple[Entry, ...]
    total_bytes: int


class Reader(Protocol):
    """One pass over an archive: each entry with the real bytes of it, to be read before the next one."""

    def walk(self, *, with_content: bool) -> Iterator[Tuple[Entry, Iterator[bytes]]]: ...


def inspect(archive: str | Path | BinaryIO, limits: Limits | None = None, *, extension: str = "") -> Inspection:
    """Everything that the archive holds, after all checks of pass 1; nothing is written.

    Args:
        archive: Its path, or itself as a seekable stream, which stays open.
        limits: What it may cost.
        extension: Its format (`zip`, `tar.gz`, …) where no path's name says it.

    Raises:
        ArchiveRefused: with the ARC_* code of the rule that it breaks.
    """
    if not isinstance(archive, (str, Path)):
        return _inspected(open_reader(archive, extension, limits or Limits()))
    with Path(archive).open("rb") as stream:
        return _inspected(open_reader(stream, extension or extension_of(archive), limits or Limits()))


def inspect_tar(pieces: Iterator[bytes], packed_bytes: int, limits: Limits | None = None) -> Inspection:
    """The same for a tar that the caller unpacks, such as a `.tar.zst` where this Python cannot read it.

    Args:
        pieces: The tar's own bytes in order, in pieces of any size.
        packed_bytes: The size of the file that they come from.
        limits: What it may cost.
    """
    from runner.contract.tar_reader import TarReader  # late: a job needs one format only

    return _inspected(TarReader(pieces, packed_bytes, limits or Limits()))


def safe_unpack(
    path: str | Path, destination: str | Path, limits: Limits | None = None, *, extension: str = ""
) -> Inspection:
    """Unpack into a folder that must not exist yet; it appears whole or not at all.

    Raises:
        ArchiveRefused: with the ARC_* code of the rule that it breaks; nothing is left behind.
        FileExistsError: the destination exists.
    """
    target = Path(destination)
    if os.path.lexists(target):
        raise FileExistsError(f"{target} exists already")
    kind = extension or extension_of(path)
    with Path(path).open("rb") as stream:
        found = _inspected(open_reader(stream, kind, limits or Limits()))
        part = target.with_name(f".{target.name}.{os.urandom(8).hex()}.part")
        part.mkdir(mode=0o700)
        try:
            stream.seek(0)
            _write_all(open_reader(stream, kind, limits or Limits()), part)
            part.chmod(0o755)
            part.rename(target)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    return found


def extension_of(path: str | Path) -> str:
    """The archive format that a file's name announces; empty where it announces none that we know."""
    name = Path(path).name.lower()
    known = sorted(ZIP_EXTENSIONS | TAR_EXTENSIONS, key=len, reverse=True)
    return next((extension for extension in known if name.endswith("." + extension)), "")


def open_reader(stream: BinaryIO, extension: str, limits: Limits) -> Reader:
    """The reader for a format, which the file's first bytes must bear out."""
    kind = extension.lower().lstrip(".")
    if kind in ZIP_EXTENSIONS:
        from runner.contract.zip_reader import ZipReader  # late: a job needs one format only

        return ZipReader(stream, limits)
    if kind in TAR_EXTENSIONS:
        from runner.contract.tar_reader import open_tar  # late: a job needs one format only

        return open_tar(stream, kind, limits)
    known = ", ".join(sorted(ZIP_EXTENSIONS | TAR_EXTENSIONS))
    raise ArchiveRefused("ARC_FORMAT", f"no archive format is called {extension!r}; known are {known}")


def _inspected(reader: Reader) -> Inspection:
    entries: List[Entry] = []
    names = NamesSeen()
    for entry, _content in reader.walk(with_content=False):
        if entry.name:
            names.add(entry.parts, is_directory=entry.is_directory)
            entries.append(entry)
    return Inspection(tuple(entries), sum(entry.size for entry in entries))


def _write_all(reader: Reader, root: Path) -> None:
    with contextlib.closing(_Tree(root)) as tree:
        for entry, content in reader.walk(with_content=True):
            if not entry.name:
                continue
            if entry.is_directory:
                tree.directory(entry.parts)
            else:
                tree.file(entry, content)


class _Tree:
    """A fresh folder that is written by directory descriptors, never through a link."""

    def __init__(self, root: Path) -> None:
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        self._open_parts: Tuple[str, ...] = ()
        self._open = os.dup(self._root)

    def close(self) -> None:
        os.close(self._open)
        os.close(self._root)

    def directory(self, parts: Tuple[str, ...]) -> int:
        """The descriptor of a folder, made where it is missing; entries come sorted, so one is kept open."""
        if parts == self._open_parts:
            return self._open
        current = os.dup(self._root)
        try:
            for part in parts:
                deeper = _enter(current, part)
                os.close(current)
                current = deeper
        except BaseException:
            os.close(current)
            raise
        os.close(self._open)
        self._open, self._open_parts = current, parts
        return current

    def file(self, entry: Entry, content: Iterator[bytes]) -> None:
        *folder, name = entry.parts
        parent = self.directory(tuple(folder))
        mode = 0o755 if entry.is_executable else 0o644
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode, dir_fd=parent)
        with os.fdopen(descriptor, "wb") as out:
            for piece in content:
                out.write(piece)
            os.fchmod(out.fileno(), mode)


def _enter(parent: int, part: str) -> int:
    try:
        os.mkdir(part, 0o755, dir_fd=parent)
        created = True
    except FileExistsError:
        created = False
    descriptor = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    if created:
        os.fchmod(descriptor, 0o755)
    return descriptor


__all__ = ["Entry", "Inspection", "Limits", "extension_of", "inspect", "inspect_tar", "safe_unpack"]

"""Sealed files under one folder: artifacts, and whatever else is too big for a row.

    magic "MAF1" | version u16 | data key id 16 | salt 32 | context 32 | secretstream header 24 | sealed pieces

The key is made for this one file of this one object, so a file in another object's place does not open.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hub.errors import FileDamaged, FileTruncated, NotFound
from hub.storage.vault import Purpose, Vault, derive_key, length_prefixed
from hub.storage.vault_stream import open_stream, pieces_of, seal_stream

MAGIC = b"MAF1"
VERSION = (1).to_bytes(2, "big")
HEAD_SIZE = 4 + 2 + 16 + 32 + 32

_KIND = re.compile(r"[a-z][a-z-]{0,31}")
_OBJECT = re.compile(r"[0-9a-f]{32,64}")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """What went in, as plaintext."""

    size: int
    sha256: str


class FileStore:
    """Files by kind and object id; names are ours alone, so none can point elsewhere."""

    def __init__(self, vault: Vault, root: Path) -> None:
        self._keyring = vault.keyring(Purpose.CONTENT)
        self._root = root

    def write(self, kind: str, object_id: str, source: BinaryIO | Iterable[bytes]) -> StoredFile:
        """Seal a stream, to its end; under its name only once all of it is on disk. `source` is not closed."""
        path = self.path_of(kind, object_id)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = path.with_name(f"{path.name}.{os.urandom(4).hex()}.new")
        measured = _Measured(pieces_of(source))
        try:
            with os.fdopen(
                os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600), "wb"
            ) as out:
                salt = os.urandom(32)
                head = MAGIC + VERSION + bytes.fromhex(self._keyring.active_id) + salt + _context(kind, object_id)
                out.write(head)
                out.writelines(seal_stream(_file_key(self._keyring.active, salt, kind, object_id), head, measured))
                out.flush()
                os.fsync(out.fileno())
            unfinished.rename(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
        return StoredFile(measured.size, measured.sha256.hexdigest())

    def open(self, kind: str, object_id: str) -> Iterator[bytes]:
        """The plaintext in pieces; whoever takes them throws them away if this raises before its end.

        Raises:
            NotFound: there is no such file.
            FileTruncated: it is cut.
            FileDamaged: it was altered, or is another object's.
        """
        path = self.path_of(kind, object_id)
        name = f"{kind} {object_id}"
        try:
            file = path.open("rb")
        except FileNotFoundError as error:
            raise NotFound(f"{name}: there is no such file") from error
        with file:
            head = file.read(HEAD_SIZE)
            yield from open_stream(self._key_for(head, kind, object_id), head, file, name)

    def copy_out(self, kind: str, object_id: str, destination: Path) -> StoredFile:
        """The plaintext as a file, which appears only if all of it was sound."""
        unfinished = destination.with_name(f"{destination.name}.{os.urandom(4).hex()}.new")
        measured = _Measured(self.open(kind, object_id))
        try:
            with os.fdopen(
                os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600), "wb"
            ) as out:
                out.writelines(measured)
                out.flush()
                os.fsync(out.fileno())
            unfinished.rename(destination)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        return StoredFile(measured.size, measured.sha256.hexdigest())

    def remove(self, kind: str, object_id: str) -> None:
        self.path_of(kind, object_id).unlink(missing_ok=True)

    def path_of(self, kind: str, object_id: str) -> Path:
        if not _KIND.fullmatch(kind) or not _OBJECT.fullmatch(object_id):
            raise ValueError(f"kind {kind!r} or object id {object_id!r} is not one of ours")
        return self._root / kind / object_id[:2] / f"{object_id}.maf"

    def _key_for(self, head: bytes, kind: str, object_id: str) -> bytes:
        name = f"{kind} {object_id}"
        if len(head) < HEAD_SIZE:
            raise FileTruncated(f"{name}: it ends inside its header")
        if not head.startswith(MAGIC + VERSION):
            raise FileDamaged(f"{name}: it does not begin as our files do")
        dek_id, salt, context = head[6:22].hex(), head[22:54], head[54:86]
        key = self._keyring.keys.get(dek_id)
        if key is None:
            raise FileDamaged(f"{name}: its data key {dek_id} is not in the keyring")
        if context != _context(kind, object_id):
            raise FileDamaged(f"{name}: it is another object's file")
        return _file_key(key, salt, kind, object_id)


class _Measured:
    """Passes pieces on, and knows their length and hash at the end."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self.size = 0
        self.sha256 = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self.size += len(piece)
            self.sha256.update(piece)
            yield piece


def _context(kind: str, object_id: str) -> bytes:
    return hashlib.sha256(length_prefixed("manyarm/v1/file", kind, object_id)).digest()


def _file_key(data_key: bytes, salt: bytes, kind: str, object_id: str) -> bytes:
    return derive_key(data_key, "manyarm/v1/file", kind, object_id, salt=salt)


def _created(path: Path) -> BinaryIO:
    """A new file of ours alone."""
    return os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600), "wb")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Files that only the spoke's user may read: made private and whole, never tightened or mended afterwards."""

import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path

from spokes.agent.errors import HomeUnsafe


def write_private(path: Path, content: bytes | Iterable[bytes], *, durable: bool = True) -> None:
    """Put content at path, all of it or nothing: temporary file 0600, fsync, rename, fsync of the folder.

    Args:
        path: Its folder exists.
        content: Bytes, or pieces in order.
        durable: False leaves out both fsyncs, for what is made again after a power cut.
    """
    temporary = path.parent / f".{path.name}.{secrets.token_hex(8)}"
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            for piece in (content,) if isinstance(content, bytes) else content:
                _write_all(file.fileno(), piece)
            if durable:
                os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def read_private(path: Path) -> bytes:
    """The bytes of a file that nobody else can read, write or replace.

    Raises:
        HomeUnsafe: It is a link, belongs to another user, or others have rights on it.
        FileNotFoundError: There is none.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise HomeUnsafe(f"{path} cannot be opened as a plain file ({error.strerror})") from error
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_uid not in {os.geteuid(), 0}:
            raise HomeUnsafe(f"{path} is not a plain file of this user; find out who made it")
        if stat.S_IMODE(found.st_mode) & 0o077:
            mode = stat.S_IMODE(found.st_mode)
            raise HomeUnsafe(f"{path} has mode {mode:04o}, so others could read it; expected 0600: chmod 600 {path}")
        return file.read()


def make_private_folder(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(descriptor, view) :]

"""The machine that the spoke itself stands on."""

import contextlib
import hashlib
import logging
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import overload

import zstandard

from spokes.agent.errors import PartsDamaged
from spokes.agent.home import SpokeHome
from spokes.agent.job_folder import FolderWatch, end_what_is_left, folder_of
from spokes.agent.machine import Entry, JobRun, Program, Ran, Seen, Watch
from spokes.agent.private_files import make_private_folder, sync_folder, write_private
from spokes.agent.supervisors import Supervisors, minimal_environment
from wire.crash import crash_point
from wire.errors import Code, Refused

logger = logging.getLogger(__name__)

_TOUCH_EVERY_S = 3600
_EXPANDS_FREELY = 10 * 1024 * 1024
_EXPANDS_AT_MOST = 200


class ThisMachine:
    """Implements `Machine` with the system's own calls."""

    def __init__(self, home: SpokeHome, supervisors: Supervisors) -> None:
        self._home = home
        self._root = home.root.absolute()
        self._supervisors = supervisors

    @property
    def home(self) -> str:
        return str(self._root)

    @overload
    def run(self, what: Program) -> Ran: ...

    @overload
    def run(self, what: JobRun) -> Watch: ...

    def run(self, what: Program | JobRun) -> Ran | Watch:
        return _run_program(what) if isinstance(what, Program) else self._run_job(what)

    def put(self, folder: str, files: Iterable[tuple[str, bytes]], *, durable: bool = True) -> None:
        place = self._place(folder)
        make_private_folder(place)
        for name, content in files:
            path = place / name
            make_private_folder(path.parent)
            write_private(path, content, durable=durable)

    def list(self, folder: str, names: Sequence[str] | None = None, *, hashed: bool = False) -> dict[str, Entry]:
        place = self._place(folder)
        found = {}
        for name in _names_in(place) if names is None else names:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                status = (place / name).stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    digest = _digest(place / name) if hashed else ""
                    found[name] = Entry(status.st_size, digest, int(status.st_mtime))
        return found

    def concatenate(self, parts: Sequence[str], to: str, *, sha256: str, expand: bool = False) -> Entry:
        path = self._place(to)
        make_private_folder(path.parent)
        joined = _Joined(self._root / "chunks", parts)
        content: Iterable[bytes] = joined
        if expand:
            content = zstandard.ZstdDecompressor().read_to_iter(_Readable(joined))  # type: ignore[arg-type]  # Only read.
        temporary = path.with_name(f".{path.name}.part")
        written = _Measured(content, joined)
        try:
            write_private(temporary, written)
            _must_be_whole(joined, sha256)
            crash_point("package.joined")
            temporary.rename(path)
            sync_folder(path.parent)
        except zstandard.ZstdError as error:
            _must_be_whole(joined, sha256)
            raise Refused(Code.BLOB_HASH, "what is called .zst is not what zstd writes") from error
        finally:
            temporary.unlink(missing_ok=True)
        return Entry(written.size, written.digest())

    def remove(self, paths: Iterable[str]) -> None:
        for path in map(self._place, paths):
            if path.is_dir() and not path.is_symlink():
                _open_for_removal(path)
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def _run_job(self, job: JobRun) -> Watch:
        folder = self._place(folder_of(job.cid))
        if job.line is None:
            return _LocalWatch(folder, None)
        process = self._supervisors.start(self._root / "runners" / job.runner, folder, job.line)
        return _LocalWatch(folder, process)

    def _place(self, path: str) -> Path:
        """Paths are made of our own ids; this says so once more before anything is touched."""
        place = Path(path)
        if place.is_absolute() or ".." in place.parts or not place.parts:
            raise ValueError(f"{path!r} does not lie inside the home")
        return self._root / place


class _LocalWatch(FolderWatch):
    """Ends what a dead supervisor has left behind."""

    def __init__(self, folder: Path, process: int | None) -> None:
        super().__init__(folder, process)
        self._ended = 0

    def read(self, limit: int, wait_s: float) -> Seen:
        seen = super().read(limit, wait_s)
        if seen.lost:
            ended = end_what_is_left(self._folder)
            self._ended += ended
            if ended:
                logger.warning("processes of a dead supervisor ended", extra={"job": self._folder.name, "count": ended})
            return replace(seen, ended=self._ended)
        return seen


class _Joined:
    """The bytes of chunks in order; remembers which were missing or not what their names say."""

    def __init__(self, chunks: Path, parts: Sequence[str]) -> None:
        self._chunks = chunks
        self._parts = parts
        self._whole = hashlib.sha256()
        self.size = 0
        self.damaged: list[str] = []

    def __iter__(self) -> Iterator[bytes]:
        now = time.time()
        for name in self._parts:
            path = self._chunks / name
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                content = b""
            if hashlib.sha256(content).hexdigest() != name:
                self.damaged.append(name)
                path.unlink(missing_ok=True)
                continue
            if now - path.stat().st_mtime > _TOUCH_EVERY_S:
                os.utime(path)
            self._whole.update(content)
            self.size += len(content)
            yield content

    def digest(self) -> str:
        return self._whole.hexdigest()


class _Readable:
    """An iterator of bytes as a file that can only be read."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._rest = piece
        taken, self._rest = (self._rest, b"") if size < 0 else (self._rest[:size], self._rest[size:])
        return taken


class _Measured:
    """Passes pieces on and knows their size and digest afterwards; ends what grows out of all proportion."""

    def __init__(self, pieces: Iterable[bytes], source: _Joined) -> None:
        self._pieces = pieces
        self._source = source
        self._hash = hashlib.sha256()
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self._hash.update(piece)
            self.size += len(piece)
            if self.size > _EXPANDS_FREELY + _EXPANDS_AT_MOST * self._source.size:
                raise Refused(Code.BLOB_SIZE, f"it unpacks to more than {_EXPANDS_AT_MOST} times its size")
            yield piece

    def digest(self) -> str:
        return self._hash.hexdigest()


def _digest(path: Path) -> str:
    """Computed at each use: what the disk spoils changes neither size nor time of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _must_be_whole(joined: _Joined, sha256: str) -> None:
    if joined.damaged:
        raise PartsDamaged(joined.damaged)
    if joined.digest() != sha256:
        raise Refused(Code.BLOB_HASH, "every chunk is sound, but together they are not what was announced")


def _run_program(program: Program) -> Ran:
    try:
        done = subprocess.run(
            program.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=minimal_environment(),
            timeout=program.timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Ran(127, str(error).encode())
    return Ran(done.returncode, done.stdout)


def _names_in(folder: Path) -> Iterator[str]:
    """Files that are whole: what is being written has a name that begins with a dot."""
    for place, _, names in os.walk(folder):
        below = Path(place).relative_to(folder)
        yield from (str(below / name) for name in names if not name.startswith("."))


def _open_for_removal(folder: Path) -> None:
    """Folders that nobody may write to (an installed runner) cannot be emptied, not even by their owner."""
    for place, _, _ in os.walk(folder):
        with contextlib.suppress(OSError):
            Path(place).chmod(0o700)

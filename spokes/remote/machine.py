"""A machine at the end of an SSH connection: the verbs of `Machine`, each asked of a hand there.

Every verb may be asked twice without harm, so each is asked again over a new connection when one breaks; a start too,
for the hand leaves its mark in the job's folder before it starts anything.
"""

import contextlib
import errno
import hashlib
import io
import json
import struct
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO, TypeVar, overload

from spokes.agent.errors import CannotStart, MachineUnreachable, PartsDamaged
from spokes.agent.home import SHA256
from spokes.agent.job_folder import JOB, folder_of
from spokes.agent.machine import Entry, JobRun, Program, Ran, Watch
from spokes.remote.connecting import Connecting, Way
from spokes.remote.link import Fault, Reply
from spokes.remote.shipped import ShippedPlaces
from spokes.remote.watch import RemoteWatch
from wire.errors import Code, Refused

Answer = TypeVar("Answer")

# Stands for the interpreter that was found there.
INTERPRETER = "python3"
_PUT_BYTES = 4 * 1024 * 1024
_READ_BYTES = 1024 * 1024
_PATIENCE_S = 120.0
_LONG_S = 3600.0
_SAMPLE_BYTES = 4096


class RemoteMachine:
    """Implements `Machine`; used by all job threads.

    Args:
        tree_of: The digest of an installed runner's folder, by the runner's own.
        altered: Told of a runner that is not what was put there.
    """

    def __init__(
        self,
        way: Way,
        places: ShippedPlaces,
        *,
        standby: bool,
        tree_of: Callable[[str], str],
        altered: Callable[[str], None],
    ) -> None:
        self.connecting = Connecting(way)
        self._places = places
        self._standby = standby
        self._tree_of = tree_of
        self._altered = altered
        self._lock = threading.Lock()
        self._jobs: dict[str, bytes] = {}

    @property
    def home(self) -> str:
        return str(self.facts()["home"])

    def facts(self) -> dict[str, Any]:
        """What it is, as of when it was connected."""
        return self._linked(self.connecting.facts)

    def free_bytes(self) -> int:
        return int(self._ask("facts").shown["free"])

    @overload
    def run(self, what: Program) -> Ran: ...

    @overload
    def run(self, what: JobRun) -> Watch: ...

    def run(self, what: Program | JobRun) -> Ran | Watch:
        return self._run_program(what) if isinstance(what, Program) else self._run_job(what)

    def put(self, folder: str, files: Iterable[tuple[str, bytes]], *, durable: bool = True) -> None:
        """What a job is travels with its start."""
        for batch in _batches(self._without_job(folder, files)):
            # A little is worth the time; where there is much, time is worth more.
            level = 6 if sum(len(content) for _, content in batch) < _PUT_BYTES else 1
            packed = [(name, *_packed(content, level)) for name, content in batch]
            named = [[name, len(content), is_packed] for name, content, is_packed in packed]
            self._ask("put", b"".join(content for _, content, _ in packed), folder=folder, files=named, durable=durable)

    def list(self, folder: str, names: Sequence[str] | None = None, *, hashed: bool = False) -> dict[str, Entry]:
        how, body = ("", b"") if names is None else _told(names)
        if hashed and how == "digests":
            how, body = "json", json.dumps(names).encode()
        reply = self._ask("list", body, folder=folder, names=how, hashed=hashed, timeout_s=_LONG_S)
        if how == "digests":
            return _unpacked(names or (), reply.body)
        return {name: Entry(size, sha256, used_at) for name, size, sha256, used_at in json.loads(reply.body)}

    def concatenate(self, parts: Sequence[str], to: str, *, sha256: str, expand: bool = False) -> Entry:
        if expand:
            raise ValueError("what is zstd is unpacked beside the hub")
        how, body = _told(parts)
        shown = self._join(how, body, to, sha256).shown
        return Entry(int(shown["size"]), str(shown["sha256"]))

    def _join(self, how: str, body: bytes, to: str, sha256: str) -> Reply:
        """The names were told when it was asked which are there: mostly, once is enough."""
        if how == "digests":
            try:
                return self._linked(
                    lambda: self.connecting.ask(
                        "concatenate",
                        hashlib.sha256(body).digest(),
                        names="same",
                        to=to,
                        sha256=sha256,
                        timeout_s=_LONG_S,
                    )
                )
            except _Forgotten:
                pass
        return self._ask("concatenate", body, names=how, to=to, sha256=sha256, timeout_s=_LONG_S)

    def remove(self, paths: Iterable[str]) -> None:
        named = list(paths)
        self._ask("remove", paths=named)
        for path in named:
            folder, _, cid = path.removesuffix(f"/{JOB}").partition("/")
            if folder == "jobs" and "/" not in cid:
                self._forget_job(cid)

    def open_file(self, path: str) -> BinaryIO:
        """For reading, a piece at a time; OSError if it is no plain file, MachineUnreachable if nobody can say."""
        return io.BufferedReader(_RemoteFile(self, path), _READ_BYTES)

    def read(self, path: str, offset: int, size: int) -> bytes:
        try:
            return self.connecting.ask("read", path=path, offset=offset, size=size).body
        except Fault as fault:
            raise OSError(fault.shown.get("errno", errno.EIO), str(fault)) from fault

    def _run_program(self, program: Program) -> Ran:
        name, *arguments = program.argv
        argv = [self.facts()["interpreter"] if name == INTERPRETER else name, *arguments]
        reply = self._ask("run", argv=argv, timeout=program.timeout_s, timeout_s=program.timeout_s + _PATIENCE_S)
        return Ran(int(reply.shown["code"]), reply.body)

    def _run_job(self, job: JobRun) -> Watch:
        if job.line is not None:
            self._start(job, job.line)
        return RemoteWatch(self.connecting, job.cid, self._places)

    def _start(self, job: JobRun, line: bytes) -> None:
        content = self._jobs.get(job.cid, b"")
        packed, is_packed = _packed(content, 1)
        # Of before the first asking: one that is asked again after a power cut would find no mark, and run it twice.
        boot = self.facts()["boot"]
        try:
            self.connecting.ask(
                "start",
                packed + line,
                folder=folder_of(job.cid),
                runner=f"runners/{job.runner}",
                tree=self._tree_of(job.runner),
                job=hashlib.sha256(content).hexdigest(),
                file=[len(packed), is_packed],
                standby=self._standby,
                boot=boot,
            )
        except Fault as fault:
            if fault.word in ("full", "boot"):
                raise _as_said_here(fault) from fault
            if fault.word != "runner":
                raise CannotStart(str(fault)) from fault
            self._altered(job.runner)
            raise Refused(Code.RUN_HASH, str(fault)) from fault

    def _ask(self, do: str, body: bytes = b"", **request: Any) -> Reply:
        return self._linked(lambda: self.connecting.ask(do, body, **request))

    def _linked(self, work: Callable[[], Answer]) -> Answer:
        try:
            return work()
        except Fault as fault:
            raise _as_said_here(fault) from fault

    def _without_job(self, folder: str, files: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
        place, _, cid = folder.partition("/")
        for name, content in files:
            if place == "jobs" and name == JOB:
                with self._lock:
                    self._jobs[cid] = content
            else:
                yield name, content

    def _forget_job(self, cid: str) -> None:
        with self._lock:
            self._jobs.pop(cid, None)
        with contextlib.suppress(OSError, ValueError):
            self._places.forget(cid)


class _RemoteFile(io.RawIOBase):
    """Reads from where it stands."""

    def __init__(self, machine: RemoteMachine, path: str) -> None:
        self._machine = machine
        self._path = path
        self._offset = 0
        # Now, so that what is not there is said when it is opened.
        self._begun = machine.read(path, 0, _READ_BYTES)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._begun or self._machine.read(self._path, self._offset, len(buffer))
        taken = piece[: len(buffer)]
        self._begun = self._begun[len(taken) :]
        buffer[: len(taken)] = taken
        self._offset += len(taken)
        return len(taken)


class _Forgotten(Exception):
    pass


def _as_said_here(fault: Fault) -> Exception:
    if fault.word == "forgotten":
        return _Forgotten()
    if fault.word == "damaged":
        return PartsDamaged(fault.shown["names"])
    if fault.word == "hash":
        return Refused(Code.BLOB_HASH, str(fault))
    if fault.word == "full":
        return Refused(Code.BLOB_SPACE, f"the disk of the target is full ({fault}); make room there")
    return MachineUnreachable(f"the target could not do it: {fault}")


def _told(names: Sequence[str]) -> tuple[str, bytes]:
    """How names are written, and the names; digests are half as long as they look."""
    if names and all(SHA256.fullmatch(name) for name in names):
        return "digests", bytes.fromhex("".join(names))
    return "json", json.dumps(list(names)).encode()


def _unpacked(names: Sequence[str], body: bytes) -> dict[str, Entry]:
    """What the hand says of digests: all sizes, then all times; size 0 for what is not there."""
    columns = struct.unpack(f">{2 * len(names)}I", zlib.decompress(body))
    sizes, times = columns[: len(names)], columns[len(names) :]
    return {name: Entry(size, "", used_at) for name, size, used_at in zip(names, sizes, times, strict=True) if size}


def _packed(content: bytes, level: int) -> tuple[bytes, bool]:
    """Smaller, where a piece of it says that it pays."""
    sample = content[:_SAMPLE_BYTES]
    if len(zlib.compress(sample, 1)) > len(sample) * 3 // 4:
        return content, False
    return zlib.compress(content, level), True


def _batches(files: Iterable[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    batch: list[tuple[str, bytes]] = []
    size = 0
    for name, content in files:
        batch.append((name, content))
        size += len(content)
        if size >= _PUT_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch

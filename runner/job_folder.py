"""The job folder: what the spoke lays out, and what the supervisor answers in it.

Files are made private, whole and once: written beside their name, then linked or renamed into place. Only the outcome
is synced, for it alone must outlive a power cut: a supervisor does not, so its name need not either, and that a job ran
is what the spoke's journal knows.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, List, Tuple

from runner.contract.errors import JobMalformed
from runner.contract.fields import Fields, parse_object
from runner.contract.job import Job
from runner.crash import crash_point
from runner.errors import FolderRefused

JOB_MAX_BYTES = 16 * 1024**2
# Given back to the file system when it is full, so that the outcome still finds room.
RESERVE_BYTES = 256 * 1024
# In the work folder: a cloud account's files, for the time of one run.
ACCOUNT_FOLDER = ".account"


@dataclass(frozen=True)
class Limits:
    """What a job may cost.

    Args:
        cpu_s: Processor seconds of all its processes together.
        wall_s: Seconds from its start to its end.
        out_bytes: Bytes of output that are kept.
        disk_bytes: Bytes that its package may unpack to, and that its artifacts may have.
    """

    cpu_s: int
    wall_s: int
    out_bytes: int
    disk_bytes: int


@dataclass(frozen=True)
class JobFile:
    """What `job.json` says: the job as the hub sent it, and where things lie on this machine."""

    job: Job
    cid: str
    packages: Dict[str, str]
    home: str
    limits: Limits
    run_as: str

    @classmethod
    def from_json(cls, value: object) -> JobFile:
        fields = Fields(value)
        if fields.number("format") != 1:
            raise JobMalformed("format", "expected 1; this runner knows no other")
        found = cls(
            job=Job.from_json(fields.json_object("job")),
            cid=fields.text("cid", 64),
            packages=fields.text_map("packages"),
            home=fields.text("home", 4096),
            limits=_limits(fields.object("limits")),
            run_as=fields.text("run_as", 256),
        )
        fields.finish()
        return found


def _limits(fields: Fields) -> Limits:
    limits = Limits(*(fields.number(name, 1) for name in ("cpu_s", "wall_s", "out_bytes", "disk_bytes")))
    fields.finish()
    return limits


@dataclass(frozen=True)
class Outcome:
    """How a job ended; written once."""

    state: str
    exit_code: int | None
    message: str
    outputs: Tuple[Dict[str, Any], ...]
    artifacts: Tuple[Dict[str, Any], ...]
    survivors: Tuple[str, ...]
    ended_processes: int
    cancel_confirmed: bool | None
    started_at: int
    ended_at: int
    spool: Dict[str, Any]

    def to_json(self) -> Dict[str, Any]:
        found: Dict[str, Any] = {"format": 1}
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            found[name] = list(value) if isinstance(value, tuple) else value
        return found


class JobFolder:
    """One job's folder; it must exist and belong to this user."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        if not self.path.is_dir():
            raise FolderRefused(f"{path} is no folder")
        self.output = self.path / "output"
        self.work = self.path / "work"
        self.artifacts = self.path / "artifacts"
        self._cancel = str(self.path / "cancel")
        self._reserve = self.path / "reserve"

    def claim(self) -> None:
        """Say who supervises this job, before anything runs.

        Raises:
            FolderRefused: a supervisor has or had this folder; a job never runs twice.
        """
        part = self._written("supervisor", own_name(), durable=False)
        crash_point("folder.naming")
        try:
            os.link(part, self.path / "supervisor")
        except FileExistsError as error:
            raise FolderRefused(f"{self.path} has a supervisor already; a job runs at most once") from error
        finally:
            part.unlink()
        crash_point("folder.claimed")
        self.work.mkdir(mode=0o700, exist_ok=True)

    def read_job(self) -> JobFile:
        """The job of this folder.

        Raises:
            FolderRefused: there is no readable job.json.
            JobMalformed: it does not hold what the contract says.
        """
        try:
            with (self.path / "job.json").open("rb") as stream:
                data = stream.read(JOB_MAX_BYTES + 1)
        except OSError as error:
            raise FolderRefused(f"{self.path / 'job.json'} cannot be read: {error.strerror}") from error
        if len(data) > JOB_MAX_BYTES:
            raise FolderRefused(f"{self.path / 'job.json'} has over {JOB_MAX_BYTES} bytes")
        return JobFile.from_json(parse_object(data))

    def is_cancelled(self) -> bool:
        return os.path.lexists(self._cancel)

    def cancel_reason(self) -> str:
        """What the cancel file says; empty where it says nothing that can be read."""
        try:
            reason = json.loads(Path(self._cancel).read_bytes()[:4096]).get("reason", "")
        except (OSError, ValueError, AttributeError):
            return ""
        return reason if isinstance(reason, str) else ""

    def set_aside(self) -> None:
        """Keep room for the outcome; again changes nothing."""
        # Some file systems cannot promise room; then a full disk is met when it comes.
        with suppress(OSError):
            descriptor = os.open(self._reserve, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
            finally:
                os.close(descriptor)

    def release_reserve(self) -> None:
        self._reserve.unlink(missing_ok=True)

    def write_outcome(self, outcome: Outcome) -> None:
        self.release_reserve()
        part = self._written("outcome.json", outcome.to_json(), durable=True)
        crash_point("outcome.written")
        part.rename(self.path / "outcome.json")
        crash_point("outcome.stored")
        _sync_folder(self.path)

    def _written(self, name: str, body: Dict[str, Any], *, durable: bool) -> Path:
        part = self.path / f".{name}.{os.getpid()}.part"
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(json.dumps(body).encode("utf-8"))
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        return part


def own_name() -> Dict[str, Any]:
    """Who this process is, unmistakably: never another one with the same pid, later or after a reboot."""
    return _name_of(os.getpid())


@lru_cache(maxsize=1)
def _name_of(pid: int) -> Dict[str, Any]:
    return {"pid": pid, "start_time": start_time(pid), "boot_id": boot_id()}


def start_time(pid: int) -> int:
    """Clock ticks from boot to the start of a process; 0 where the system does not tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0
    fields: List[bytes] = stat[stat.rindex(b")") + 2 :].split()
    return int(fields[19])


def boot_id() -> str:
    """Which boot of the machine this is; empty where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

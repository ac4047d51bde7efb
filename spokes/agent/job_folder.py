"""The folder in which a job runs and leaves everything that there is to know about it (the contract with the runner).

    job.json  supervisor  output  shipped  outcome.json  cancel  work/

The spoke writes job.json, shipped and cancel; the supervisor the rest. Whoever finds the folder again goes on from it.
"""

import json
import os
import time
from pathlib import Path

from spokes.agent.home import ID
from spokes.agent.machine import Seen
from spokes.agent.notice import FolderNotice
from spokes.agent.private_files import write_private
from spokes.agent.processes import ProcessName, end_job
from spokes.agent.spool import OVERHEAD, RECORD_MAX, Position, after_whole_records
from wire.canonical import JsonObject
from wire.messages import Limits

JOB, SUPERVISOR, SPOOL, SHIPPED, OUTCOME, CANCEL, WORK = (
    "job.json",
    "supervisor",
    "output",
    "shipped",
    "outcome.json",
    "cancel",
    "work",
)
OUTCOME_MAX = 8 * 1024 * 1024
# A supervisor that this daemon's predecessor started writes its name within this time, or never.
APPEARS_WITHIN_S = 3.0
# Whoever is named so has claimed a folder for nobody.
_NOBODY = ProcessName(0, 0, "")


def folder_of(cid: str) -> str:
    """Its path in the home; only an id of ours makes one."""
    if not ID.fullmatch(cid):
        raise ValueError("a job id is 32 lowercase hex characters")
    return f"jobs/{cid}"


def job_file(
    cid: str, job: JsonObject, *, packages: dict[str, str], home: str, limits: Limits, run_as: str
) -> tuple[str, bytes]:
    """The file that tells the supervisor what to do; it holds no secret."""
    content = {
        "format": 1,
        "job": job,
        "cid": cid,
        "packages": packages,
        "home": home,
        "limits": {
            "cpu_s": limits.cpu_s,
            "wall_s": limits.wall_s,
            "out_bytes": limits.out_bytes,
            "disk_bytes": limits.disk_bytes,
        },
        "run_as": run_as,
    }
    return JOB, json.dumps(content).encode()


class FolderWatch:
    """Follows a run by its folder on this machine; used by one thread.

    Args:
        folder: Of the job.
        process: A pidfd of the supervisor, taken over; None to find one that was started before.
    """

    def __init__(self, folder: Path, process: int | None) -> None:
        self._folder = folder
        self._notice = FolderNotice(folder, (SPOOL, OUTCOME))
        self._knows_process = process is not None
        if process is not None:
            self._notice.add_process(process)
        self._patience_ends = time.monotonic() + APPEARS_WITHIN_S
        self._spool: int | None = None
        self._outcome: bytes | None = None
        self.position = self._shipped()

    def read(self, limit: int, wait_s: float) -> Seen:
        seen = self._look(limit)
        if seen.data or seen.outcome is not None or seen.lost:
            return seen
        self._notice.wait(wait_s)
        return self._look(limit)

    def go_back(self, position: Position) -> None:
        self.position = position

    def confirmed(self, position: Position) -> None:
        write_private(self._folder / SHIPPED, position.to_json(), durable=False)

    def close(self) -> None:
        self._notice.close()
        if self._spool is not None:
            os.close(self._spool)
            self._spool = None

    def _shipped(self) -> Position:
        try:
            return Position.from_json((self._folder / SHIPPED).read_bytes())
        except OSError:
            return Position()

    def _look(self, limit: int) -> Seen:
        # In this order: whoever has ended has written its outcome, and before the outcome all of the spool.
        ended = self._has_ended()
        outcome = self._read_outcome()
        data = self._read_spool(limit)
        after = after_whole_records(data, self.position, limit)
        data = data[: after.offset - self.position.offset]
        self.position = after
        lost = ended and outcome is None and not data
        return Seen(data, after, outcome, lost, unclaimed=lost and claim_for_nobody(self._folder))

    def _has_ended(self) -> bool:
        if self._knows_process:
            return self._notice.process_ended()
        name = supervisor_of(self._folder)
        if name is None:
            return time.monotonic() > self._patience_ends
        process = name.open()
        if process is None:
            return True
        self._notice.add_process(process)
        self._knows_process = True
        return False

    def _read_outcome(self) -> bytes | None:
        if self._outcome is None:
            self._outcome = _content(self._folder / OUTCOME, OUTCOME_MAX)
        return self._outcome

    def _read_spool(self, limit: int) -> bytes:
        if self._spool is None:
            try:
                self._spool = os.open(self._folder / SPOOL, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                return b""
        return os.pread(self._spool, max(limit, RECORD_MAX + OVERHEAD), self.position.offset)


def supervisor_of(folder: Path) -> ProcessName | None:
    """Who wrote that it supervises this folder."""
    content = _content(folder / SUPERVISOR, 4096)
    if content is None:
        return None
    try:
        found = json.loads(content)
        return ProcessName(int(found["pid"]), int(found["start_time"]), str(found["boot_id"]))
    except (ValueError, KeyError, TypeError):
        return None


def claim_for_nobody(folder: Path) -> bool:
    """Make sure that no supervisor does this job any more; False where one has claimed its folder.

    A supervisor claims it by the same name before it runs anything, and leaves where the name is taken.
    """
    claim = folder / f".{SUPERVISOR}.nobody"
    try:
        write_private(claim, json.dumps({"pid": 0, "start_time": 0, "boot_id": ""}).encode(), durable=False)
        os.link(claim, folder / SUPERVISOR)
    except FileExistsError:
        return supervisor_of(folder) == _NOBODY
    except FileNotFoundError:
        # Without a folder there is nothing to claim.
        return not folder.exists()
    except OSError:
        return False
    finally:
        claim.unlink(missing_ok=True)
    return True


def end_what_is_left(folder: Path) -> int:
    """End all processes of a job whose supervisor died without an outcome; returns how many."""
    leader = supervisor_of(folder)
    return 0 if leader is None else end_job(leader, folder.name)


def _content(path: Path, most: int) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read(most)

"""Log frames to blocks: many frames at once, one block a job and batch, little work a line.

Records are checked against their chain, cut into lines, masked, compressed and sealed outside the transaction; inside
it blocks get their numbers and the jobs' cursors move, and a result that waited for its last line is counted. A frame
that is ahead of another one waits a moment for it: after that there is a gap, which is named and looked after.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from peewee import fn

from hub.orchestrator import task_log
from hub.orchestrator.effects import Level
from hub.orchestrator.held import HeldResults
from hub.orchestrator.log_fetch import LogFetches
from hub.orchestrator.log_records import Columns, Cursor, end_state, follow, gaps_from_json, lines_of
from hub.orchestrator.opening import Door, Opened
from hub.orchestrator.parts import EngineParts
from hub.orchestrator.replies import Replies
from hub.orchestrator.secret_values import Masks
from hub.states import JOB_ENDED, LogState
from hub.storage.database import write_tx
from hub.storage.models import Job
from hub.storage.models.table import canonical_json
from hub.storage.prepared import Prepared, PreparedRows, hole, holes
from runner.contract.errors import SpoolDamaged
from runner.contract.spool import Record, read_records
from wire.crash import crash_point
from wire.errors import Code, Refused
from wire.log_body import unpack_records
from wire.messages import Log

# What a target may send beyond the cap that its runner keeps by itself.
_CAP_SLACK_BYTES = 64 * 1024 * 1024
# Frames that overtook others while they go round once more; a broker that lies may send any number.
_EARLY_MAX = 16


class CursorMoved(Exception):
    """Somebody else moved a job's log while we prepared."""


@dataclass(slots=True)
class _JobLog:
    """One job's part of a batch."""

    job: Any
    cursor: Cursor
    before: int
    size: int = 0
    lines: Columns = field(default_factory=Columns)
    truncated: bool = False


class EarlyFrames:
    """Those that overtook others, unanswered, until what they wait for has come or their time is over; one thread."""

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        self._kept: dict[int, tuple[Opened, float]] = {}

    @property
    def frames(self) -> list[Opened]:
        return [opened for opened, _ in self._kept.values()]

    def may_wait(self, opened: Opened, others: int) -> bool:
        """Whether it may, beside so many others."""
        _, due = self._kept.get(id(opened), (opened, math.inf))
        return others < _EARLY_MAX and time.monotonic() < due

    def keep(self, early: Sequence[Opened]) -> None:
        """These alone; how long they have waited already is not forgotten."""
        due = time.monotonic() + self._wait_s
        self._kept = {id(opened): self._kept.get(id(opened), (opened, due)) for opened in early}

    def clear(self) -> None:
        self._kept = {}


def _at_once(_: Opened, __: int) -> bool:
    return False


class LogInbox:
    """Takes batches of log frames; one thread."""

    def __init__(
        self,
        parts: EngineParts,
        door: Door,
        replies: Replies,
        held: HeldResults,
        masks: Masks,
        fetches: LogFetches,
        *,
        cap_bytes: int,
    ) -> None:
        self._parts = parts
        self._door = door
        self._replies = replies
        self._held = held
        self._masks = masks
        self._fetches = fetches
        self._cap_bytes = cap_bytes + _CAP_SLACK_BYTES

    def take(self, batch: Sequence[Opened], *, may_wait: Callable[[Opened, int], bool] = _at_once) -> list[Opened]:
        """Everything of a batch, committed.

        Args:
            batch: Frames in any order.
            may_wait: Asked of one if something before it has not come yet.

        Returns:
            Those that wait; all others may be acknowledged.
        """
        logs, early = self._prepare(batch, may_wait)
        rows = task_log.prepare(self._parts.vault, [_lines(log) for log in logs])
        counted: list[Opened] = []
        with write_tx():
            self._replies.hold(log.job.task for log in logs)
            task_log.store(rows)
            for log in sorted(logs, key=lambda log: str(log.job.id)):
                _move(log)
                if log.cursor.gaps:
                    self._fetches.look_at(log.job, self._parts.limits.log_gap_ms)
                waiting = self._held.reached(log.job.id, log.cursor.next_record)
                if waiting is not None:
                    counted.append(waiting)
            ending = {opened.cid for opened in counted}
            self._replies.begun(log.job for log in logs if log.job.id not in ending)
            if counted:
                self._replies.take(counted, waiting_allowed=False)
            crash_point("logs.stored")
        crash_point("logs.committed")
        for opened in counted:
            self._held.settle(opened)
        return early

    def _prepare(
        self, batch: Sequence[Opened], may_wait: Callable[[Opened, int], bool]
    ) -> tuple[list[_JobLog], list[Opened]]:
        jobs = {job.id: job for job in _JOBS.all(cids={opened.cid for opened in batch})}
        logs: dict[str, _JobLog] = {}
        early: list[Opened] = []
        # Frames that overtook one another within a batch are put in order before anything is called missing.
        for opened in sorted(batch, key=lambda opened: (opened.cid, opened.received.header.idx)):
            job = jobs.get(opened.cid)
            if job is None or job.spoke != opened.spoke:
                self._door.refuse(opened.delivery, Code.REPLY_UNKNOWN if job is None else Code.REPLY_BINDING)
                continue
            log = logs.get(opened.cid)
            next_record = job.log_next_record if log is None else log.cursor.next_record
            if opened.received.header.idx > next_record and may_wait(opened, len(early)):
                early.append(opened)
                continue
            if log is None:
                cursor = Cursor(
                    job.log_next_record,
                    job.log_chain,
                    gaps_from_json(job.log_gaps),
                    differs=job.log_state is LogState.DIFFERS,
                )
                log = logs[opened.cid] = _JobLog(job, cursor, job.log_next_record)
            self._read(opened, log)
        return list(logs.values()), early

    def _read(self, opened: Opened, log: _JobLog) -> None:
        try:
            records = _records(opened)
        except (Refused, SpoolDamaged) as error:
            self._door.refuse(opened.delivery, error.code if isinstance(error, Refused) else Code.LOG_GAP)
            return
        header = opened.received.header
        end = header.idx + header.cnt
        if log.job.records is not None and end > log.job.records:
            self._door.refuse(opened.delivery, Code.REPLY_STATE)
            return
        now_ms = self._parts.clock_ms()
        fresh = follow(log.cursor, header.idx, header.prev, records, now_ms, log.lines)
        log.size += sum(record.size for record in fresh)
        if log.job.log_bytes + log.size > self._cap_bytes:
            if not log.truncated and log.job.log_state is not LogState.TRUNCATED:
                log.lines.add(now_ms, Level.WARNING, f"output truncated at {self._cap_bytes} bytes")
            log.truncated = True
            return
        lines_of(fresh, self._masks.of(log.job.task, log.job.id), log.lines)


_JOBS = PreparedRows(
    Job,
    lambda count: Job.select(
        Job.id, Job.task, Job.step, Job.target_name, Job.spoke, Job.state, Job.records, Job.chain,
        Job.log_next_record, Job.log_chain, Job.log_gaps, Job.log_bytes, Job.log_state,
    ).where(Job.id.in_(holes("cids", count))),
    "cids",
)  # fmt: skip
_MOVE = Prepared(
    lambda: Job.update(
        log_next_record=hole("next_record"),
        log_chain=hole("chain"),
        log_gaps=hole("gaps"),
        log_bytes=Job.log_bytes + hole("size"),
        log_state=hole("state"),
    ).where(
        Job.id == hole("id"),
        Job.log_next_record == hole("before"),
        # A result that was counted since then decides about the state of the log.
        fn.COALESCE(Job.records, -1) == hole("announced"),
    )
)


def _records(opened: Opened) -> list[Record]:
    """The records of a frame, all of them and no more than its header says."""
    header, body = opened.received.header, opened.received.body
    if not isinstance(body, Log):
        raise Refused(Code.ENV_TYPE, "only logs come by this queue")
    data = unpack_records(body.records)
    records = read_records(data, header.idx, bytes.fromhex(header.prev))
    if not records or len(records) != header.cnt or sum(record.size for record in records) != len(data):
        raise Refused(Code.LOG_GAP, "the frame does not hold the records that its header names")
    return records


def _lines(log: _JobLog) -> task_log.Lines:
    lines, job = log.lines, log.job
    return task_log.Lines(job.task, lines.at, lines.levels, lines.texts, job.step, job.target_name, job.id)


def _move(log: _JobLog) -> None:
    cursor, job = log.cursor, log.job
    moved = _MOVE.run(
        id=job.id,
        before=log.before,
        announced=-1 if job.records is None else job.records,
        next_record=cursor.next_record,
        chain=cursor.chain,
        gaps=canonical_json([gap.to_json() for gap in cursor.gaps]),
        size=log.size,
        state=_state(log),
    )
    if not moved:
        raise CursorMoved(job.id)


def _state(log: _JobLog) -> LogState:
    cursor, job = log.cursor, log.job
    if log.truncated or job.log_state is LogState.TRUNCATED:
        return LogState.TRUNCATED
    if cursor.differs:
        return LogState.DIFFERS
    if cursor.gaps:
        return LogState.GAP
    if job.state not in JOB_ENDED or job.records is None or cursor.next_record < job.records:
        return LogState.OPEN
    return end_state(cursor.next_record, cursor.chain, job.records, job.chain)

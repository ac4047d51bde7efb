"""What of a job's log never came is asked for again: its spoke keeps the spool for days, and sends those records anew.

    a gap, or an end without its log  ->  looked at  ->  asked (an order: signed, sealed, repeated as commands are)
      all of it is here: done                                  |  answered, and something is missing still: asked again
      the spool is gone, time or tries are over: the gap stays and says so

Each is a row with an owner (the job's spoke), a deadline and a number of tries.
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hub.orchestrator import task_log
from hub.orchestrator.effects import Level
from hub.orchestrator.log_records import Columns, Cursor, Gap, end_at, gaps_from_json, missing_words
from hub.orchestrator.missing_logs import ATTEMPTS_MAX
from hub.orchestrator.parts import EngineParts
from hub.orchestrator.task_store import hold_tasks
from hub.states import FetchState, LogState, OutboxKind, OutboxState, SpokeState
from hub.storage.database import current_transaction, is_postgres, write_tx
from hub.storage.models import Job, LogFetch, Outbox, Spoke, new_row_id
from hub.storage.prepared import Prepared, hole
from wire.messages import EndState, Op, Result

logger = logging.getLogger(__name__)

# A spoke keeps a spool for a week; whoever waits for a log looks into it long before.
_DEADLINE_MS = 24 * 3600 * 1000
_AGAIN_MS = 30_000
# Whoever has taken the order and is silent for so long is asked anew.
_PATIENCE_MS = 15 * 60 * 1000
_ROWS_AT_ONCE = 100
_SPANS_A_TRY = 200

_DUE = Prepared(
    lambda: (
        LogFetch.select(LogFetch.id)
        .where(LogFetch.state == FetchState.OPEN, LogFetch.due_at <= hole("now_ms"))
        .limit(1)
    )
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What an order asks for: which job's log, and which records."""

    cid: str
    spans: tuple[tuple[int, int], ...]

    def body(self) -> bytes:
        """As the outbox keeps it."""
        told = {"cid": self.cid, "spans": [list(span) for span in self.spans]}
        return f"{Op.SEND_LOG}\n{json.dumps(told)}".encode("ascii")

    @classmethod
    def of(cls, told: str) -> "Asked":
        """From what stands behind the op in an order's body."""
        found = json.loads(told)
        return cls(str(found["cid"]), tuple((int(first), int(last)) for first, last in found["spans"]))


class LogFetches:
    """Noted by whoever sees that something is missing, looked after by the clock's thread."""

    def __init__(self, parts: EngineParts, wake: Callable[[], None]) -> None:
        """`wake` is called after a commit that put something into the outbox."""
        self._parts = parts
        self._wake = wake

    def look_at(self, job: Any, wait_ms: int, *, ended: bool = False) -> None:
        """Something of this job's log may be missing; inside `write_tx`.

        `ended`: its outcome says how long the log is, so what is missing at its end can be named now.
        """
        now_ms = self._parts.clock_ms()
        columns = {"id": new_row_id(), "job": job.id, "task": job.task, "created_at": now_ms}
        times = {"due_at": now_ms + wait_ms, "deadline_at": now_ms + _DEADLINE_MS}
        LogFetch.insert(**columns, **times).on_conflict_ignore().execute()
        # One that was done once begins again with the tries that it has left; what was given up stays so, but its end.
        over = [FetchState.DONE, FetchState.GIVEN_UP] if ended else [FetchState.DONE]
        LogFetch.update(state=FetchState.OPEN, **times).where(
            LogFetch.job == job.id, LogFetch.state.in_(over)
        ).execute()

    def answered(self, order: str, result: Result) -> None:
        """A spoke has sent what it could, which comes by another queue; inside `write_tx`."""
        is_final = result.state is EndState.REFUSED
        wait_ms = self._parts.limits.log_gap_ms if is_final or result.state is EndState.SUCCEEDED else _AGAIN_MS
        self._settle(order, result.message if result.state is not EndState.SUCCEEDED else "", wait_ms, final=is_final)

    def refused(self, order: str, code: str) -> None:
        """A spoke does not do such a thing; inside `write_tx`."""
        Outbox.update(state=OutboxState.DEAD).where(Outbox.cid == order).execute()
        self._settle(order, f"its spoke does not send a log again ({code})", 0, final=True)

    def _settle(self, order: str, answer: str, wait_ms: int, *, final: bool) -> None:
        columns: dict[str, Any] = {"asked": None, "answer": answer, "due_at": self._parts.clock_ms() + wait_ms}
        if final:
            columns["attempts"] = ATTEMPTS_MAX
        LogFetch.update(columns).where(LogFetch.asked == order, LogFetch.state == FetchState.OPEN).execute()

    def work(self, now_ms: int) -> None:
        """Look at what is due."""
        if _DUE.first(now_ms=now_ms) is None:
            return
        with write_tx():
            due: Any = LogFetch.select().where(LogFetch.state == FetchState.OPEN, LogFetch.due_at <= now_ms)
            due = due.order_by(LogFetch.due_at).limit(_ROWS_AT_ONCE)
            if is_postgres():
                hold_tasks(row.task for row in due.clone())
            for row in list(due.for_update("FOR UPDATE SKIP LOCKED") if is_postgres() else due):
                self._look(row, now_ms)

    def _look(self, row: LogFetch, now_ms: int) -> None:
        job = _locked(row.job)
        gaps = self._named(job, now_ms)
        if not gaps:
            _set(row, state=FetchState.DONE, asked=None)
        elif row.asked and _is_open(row.asked, now_ms) and row.deadline_at > now_ms:
            _set(row, due_at=now_ms + self._parts.limits.log_gap_ms)
        elif why := self._hopeless(row, job, now_ms):
            self._give_up(row, job, gaps, why, now_ms)
        else:
            self._ask(row, job, gaps, now_ms)

    def _named(self, job: Any, now_ms: int) -> list[Gap]:
        """What is missing, what its end says and never came included."""
        cursor = Cursor(job.log_next_record, job.log_chain, gaps_from_json(job.log_gaps))
        said = Columns()
        if job.records is not None and job.log_state is not LogState.TRUNCATED:
            end_at(cursor, job.records, job.chain, now_ms, said)
        if said.texts:
            self._say(job, said)
            state = LogState.DIFFERS if job.log_state is LogState.DIFFERS else LogState.GAP
            Job.update(
                log_state=state,
                log_gaps=[gap.to_json() for gap in cursor.gaps],
                log_next_record=cursor.next_record,
                log_chain=cursor.chain,
            ).where(Job.id == job.id).execute()
        return cursor.gaps

    def _hopeless(self, row: LogFetch, job: Any, now_ms: int) -> str:
        """Why nobody is asked any more; "" where somebody is."""
        if row.attempts >= ATTEMPTS_MAX:
            return row.answer or f"asked for {ATTEMPTS_MAX} times in vain"
        if row.deadline_at <= now_ms:
            return row.answer or "its spoke did not send it in time"
        trusted = Spoke.select().where(Spoke.id == job.spoke, Spoke.state == SpokeState.TRUSTED)
        return "" if trusted.exists() else "its spoke is not trusted any more"

    def _ask(self, row: LogFetch, job: Any, gaps: Sequence[Gap], now_ms: int) -> None:
        order = new_row_id()
        asked = Asked(job.id, tuple(gap.span for gap in gaps[:_SPANS_A_TRY]))
        Outbox.insert(
            kind=OutboxKind.ORDER,
            spoke=job.spoke,
            cid=order,
            body=asked.body(),
            created_at=now_ms,
            expires_at=row.deadline_at,
        ).execute()
        current_transaction().after_commit.append(self._wake)
        _set(row, asked=order, attempts=row.attempts + 1, due_at=now_ms + self._parts.limits.log_gap_ms)
        logger.info("log asked for again", extra={"job": job.id, "spans": len(asked.spans), "attempt": row.attempts})

    def _give_up(self, row: LogFetch, job: Any, gaps: Sequence[Gap], why: str, now_ms: int) -> None:
        said = Columns()
        words = missing_words([gap.span for gap in gaps])
        said.add(now_ms, Level.WARNING, f"LOG_GAP: {words} of the log stay missing: {why}")
        self._say(job, said)
        _set(row, state=FetchState.GIVEN_UP, asked=None, answer=why)
        logger.warning("log stays incomplete", extra={"job": job.id, "why": why})

    def _say(self, job: Any, said: Columns) -> None:
        lines = task_log.Lines(job.task, said.at, said.levels, said.texts, job.step, job.target_name, job.id)
        task_log.append(self._parts.vault, [lines])


def _locked(cid: Any) -> Any:
    query = Job.select().where(Job.id == cid)
    return (query.for_update() if is_postgres() else query).get()


def _is_open(order: str, now_ms: int) -> bool:
    """Whether its spoke may still answer: it was not reached yet, or has taken the order not long ago."""
    row: Outbox | None = Outbox.get_or_none(Outbox.cid == order)
    if row is None or row.state in (OutboxState.DONE, OutboxState.DEAD):
        return False
    return row.state is not OutboxState.ACCEPTED or (row.published_at or 0) > now_ms - _PATIENCE_MS


def _set(row: LogFetch, **columns: Any) -> None:
    for name, value in columns.items():
        setattr(row, name, value)
    LogFetch.update(columns).where(LogFetch.id == row.id).execute()

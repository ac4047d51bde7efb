"""What acks, results and rejects mean for jobs: who may answer for which, once, and in which state.

A reply counts only if its signer is the spoke that the job was sent to, and if it answers a frame that was issued for
that very job. The first final state wins; another one later is an alarm. Numbers of a session are not asked for here:
each of these messages is idempotent by what it says, and they come by more queues than one.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from peewee import fn

from hub.events.record import SYSTEM, record
from hub.infrastructure.host_keys import CHANGED, note_changed_key
from hub.orchestrator.effects import Level
from hub.orchestrator.events import Event, JobAccepted, JobEnded, JobStarted
from hub.orchestrator.held import HeldResults
from hub.orchestrator.job_ends import end_of
from hub.orchestrator.log_fetch import LogFetches
from hub.orchestrator.log_records import end_state
from hub.orchestrator.opening import Door, Opened
from hub.orchestrator.outbox import republish, settle_cancels
from hub.orchestrator.parts import EngineParts
from hub.orchestrator.secret_values import Masks, Secrets
from hub.orchestrator.sendings import may_have_been_taken, taken
from hub.orchestrator.steering import Steering, say
from hub.states import JOB_ENDED, JobState, LogState, OutboxKind, OutboxState
from hub.storage.database import current_transaction, is_postgres
from hub.storage.models import (
    Artifact,
    IssuedFrame,
    Job,
    Outbox,
    OutputVariable,
    Spoke,
    SpokeSession,
    TrustFrame,
    new_row_id,
)
from hub.storage.models.table import canonical_json
from hub.storage.prepared import Prepared, PreparedRows, holes
from runner.contract.masking import mask_text
from wire.crash import crash_point
from wire.errors import Code
from wire.messages import Ack, AckState, EndState, Op, Reject, Result

logger = logging.getLogger(__name__)

# The hub can mend these by sealing the same job anew; all others end the job as refused.
_SEAL_ANEW = frozenset(
    {
        Code.ENV_SEAL,
        Code.ENV_SESSION,
        Code.ENV_SEQ,
        Code.ENV_EPOCH,
        Code.ENV_KEY,
        Code.ENV_EXPIRED,
        Code.ENV_FUTURE,
    }
)
# Our clock was set since the spoke was welcomed: to its own, everything is early, or late.
_OTHER_TIME = frozenset({Code.ENV_EXPIRED, Code.ENV_FUTURE})
_REPUBLISH_MAX = 10
_ALARMS_A_MINUTE = 20
_STOPPED_HELD_MS = 1_000
_DAY_MS = 86_400_000
_PROCESSES_MAX = 1_000_000
_SURVIVORS_MAX, _NAME_MAX = 100, 200
_NOT_BEGUN = frozenset({JobState.SENT, JobState.ACCEPTED})

_ISSUED = Prepared(
    lambda count: IssuedFrame.select(IssuedFrame.frame_sha256, IssuedFrame.cid, IssuedFrame.spoke).where(
        IssuedFrame.frame_sha256.in_(holes("hashes", count))
    ),
    "hashes",
)


@dataclass(slots=True)
class _Known:
    """What the rows say of the jobs that a batch speaks of."""

    jobs: dict[str, Any]
    issued: dict[str, tuple[str, str]]
    orders: dict[str, str]


@dataclass(slots=True)
class _Heard:
    """What a batch leads to."""

    events: dict[str, list[Event]] = field(default_factory=dict)
    columns: dict[str, dict[str, Any]] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    renewed: list[str] = field(default_factory=list)

    def add(self, task: str, event: Event) -> None:
        self.events.setdefault(task, []).append(event)


class Replies:
    """Applies replies inside `write_tx`."""

    def __init__(
        self,
        parts: EngineParts,
        steering: Steering,
        door: Door,
        held: HeldResults,
        secrets: Secrets,
        masks: Masks,
        fetches: LogFetches,
    ) -> None:
        self._parts = parts
        self._steering = steering
        self._door = door
        self._held = held
        self._secrets = secrets
        self._masks = masks
        self._fetches = fetches
        self._alarms: dict[str, tuple[int, int]] = {}
        self.is_forgotten: Callable[[Any], bool] = _never
        """Whether frames of a job may have gone out that no row names."""
        self.on_conflict: Callable[[str, str], None] = _nothing
        """Told of a spoke that lives twice, and how that showed."""

    def take(self, batch: Sequence[Opened], *, waiting_allowed: bool = True) -> list[Opened]:
        """Acks, results and rejects, in order.

        Args:
            batch: Opened messages of these kinds.
            waiting_allowed: Whether a result may wait for its log.

        Returns:
            The results that are kept waiting; all others may be acknowledged after the commit.
        """
        self._steering.hold(_tasks_of(batch))
        known = _known(batch)
        heard = _Heard()
        kept: list[Opened] = []
        for opened in batch:
            body = opened.received.body
            if isinstance(body, Reject):
                self._reject(opened, body, heard)
            elif opened.cid in known.orders:
                self._order(opened, known)
            elif not self._bound(opened, known):
                continue
            elif isinstance(body, Ack):
                _acknowledge(opened, body, known, heard)
            elif isinstance(body, Result) and not self._result(
                opened, body, known.jobs[opened.cid], heard, waiting_allowed=waiting_allowed
            ):
                kept.append(opened)
        self._steering.feed(heard.events, heard.columns)
        taken(heard.renewed)
        if heard.ended:
            current_transaction().after_commit.append(lambda: self._masks.forget(heard.ended))
        return kept

    def _bound(self, opened: Opened, known: _Known) -> bool:
        job = known.jobs.get(opened.cid)
        if job is None:
            return self._alarm(opened, Code.REPLY_UNKNOWN, "nobody sent that job")
        if job.spoke != opened.spoke:
            return self._alarm(opened, Code.REPLY_BINDING, "another spoke's job")
        issued = known.issued.get(opened.received.header.rh)
        if issued is None and self.is_forgotten(job):
            # It went out in the time that the hub forgot; its spoke is the one that it was planned for.
            return True
        if issued != (opened.cid, opened.spoke):
            return self._alarm(opened, Code.REPLY_BINDING, "it answers no frame issued for the job")
        return True

    def _order(self, opened: Opened, known: _Known) -> None:
        """What became of something that the spoke itself was asked for."""
        if known.orders[opened.cid] != opened.spoke:
            self._alarm(opened, Code.REPLY_BINDING, "another spoke's order")
            return
        if known.issued.get(opened.received.header.rh) != (opened.cid, opened.spoke):
            self._alarm(opened, Code.REPLY_BINDING, "it answers no frame issued for the order")
            return
        body = opened.received.body
        ended = isinstance(body, Result)
        if isinstance(body, Result):
            logger.info("order ended", extra={"spoke": opened.spoke, "state": str(body.state), "why": body.message})
            if body.state is not EndState.SUCCEEDED:
                why = {"state": str(body.state), "why": _plain(body.message)}
                record(
                    "spoke.order", f"spoke:{opened.spoke}", actor=f"spoke:{opened.spoke}", outcome="failed", detail=why
                )
            else:
                _caught_up(opened)
            self._fetches.answered(opened.cid, body)
        state = OutboxState.DONE if ended else OutboxState.ACCEPTED
        over = (OutboxState.DONE, OutboxState.DEAD)
        Outbox.update(state=state).where(Outbox.cid == opened.cid, Outbox.state.not_in(over)).execute()

    def hold(self, tasks: Iterable[str]) -> None:
        """Before any row of their jobs is touched; inside `write_tx`."""
        self._steering.hold(tasks)

    def begun(self, jobs: Iterable[Any]) -> None:
        """Lines of these jobs have come, so they run, whether or not their spoke said so."""
        events: dict[str, list[Event]] = {}
        for job in jobs:
            if job.state in _NOT_BEGUN:
                events.setdefault(job.task, []).append(JobStarted(job.id))
        self._steering.feed(events)

    def _result(self, opened: Opened, body: Result, job: Any, heard: _Heard, *, waiting_allowed: bool) -> bool:
        """Count a result; False where it waits for its log."""
        digest = opened.received.body_sha256
        if job.state in JOB_ENDED or opened.cid in heard.ended:
            self._second_end(opened, body, job, digest)
            return True
        now_ms = self._parts.clock_ms()
        if waiting_allowed and job.log_next_record < body.records:
            # Whoever asked to cancel wants to hear of the end, and reads the log afterwards.
            due_ms = now_ms + min(
                int(self._parts.limits.held_s * 1000), _STOPPED_HELD_MS if _is_stopped(body) else _DAY_MS
            )
            if self._held.hold(opened, body.records, due_ms):
                return False
        log_state = _log_state(job, body)
        if log_state is LogState.DIFFERS and job.log_state is not LogState.DIFFERS:
            words = "LOG_GAP: the end of the log is not what the target's result says"
            say(self._parts.vault, job.task, now_ms, Level.WARNING, words, job.step, job.target_name)
        if job.log_next_record < body.records:
            self._fetches.look_at(job, self._parts.limits.log_late_ms, ended=True)
        heard.ended.add(opened.cid)
        heard.columns[opened.cid] = {
            "result_sha256": digest,
            "records": body.records,
            "chain": body.chain,
            "log_state": log_state,
            "started_at": _started_at(job, body, now_ms),
        }
        if _is_stopped(body):
            heard.columns[opened.cid] |= self._what_was_left(job, body)
        self._bring_in(job, body)
        crash_point("reply.result")
        state, message = end_of(body)
        masks = self._masks.of(job.task, job.id) if message else None
        message = mask_text(message, masks) if masks is not None else message
        # What a script says of itself comes only after its start, and never as what is known of an unknown end.
        found = body.known if body.state is EndState.UNKNOWN else body.message if body.started_at == 0 else ""
        if found.startswith(CHANGED):
            self._changed_key(job, found, now_ms)
        began, ended = body.started_at > 0, min(body.ended_processes, _PROCESSES_MAX)
        heard.add(job.task, JobEnded(opened.cid, state, body.exit_code, _plain(message), began, ended))
        return True

    def _what_was_left(self, job: Any, body: Result) -> dict[str, Any]:
        """Columns: what its machine ended of a job, and what it could not end."""
        masks = self._masks.of(job.task, job.id)
        names = body.survivors[:_SURVIVORS_MAX]
        left = [_plain(mask_text(name, masks) if masks else name)[:_NAME_MAX] for name in names]
        return {
            "ended_processes": min(body.ended_processes, _PROCESSES_MAX),
            "survivors": canonical_json(left) if left else None,
        }

    def _changed_key(self, job: Any, message: str, now_ms: int) -> None:
        """The machine that answered there is perhaps not the target: no further credentials go there."""
        reason = note_changed_key(self._parts.seals, job.target, message, now_ms)
        if reason:
            detail = {"name": job.target_name, "reason": reason}
            record("target.disable", f"target:{job.target}", actor=SYSTEM, detail=detail)
            say(self._parts.vault, job.task, now_ms, Level.ERROR, f"{job.target_name} is disabled: {reason}", job.step)

    def _bring_in(self, job: Any, body: Result) -> None:
        """Outputs and artifacts, as they came; nothing of them is ever expanded."""
        if body.outputs:
            masks = self._masks.of(job.task, job.id)
            place = {"task": job.task, "job": job.id, "step": job.step, "target": job.target_name}
            rows = [
                {**place, "name": output.name, **self._secrets.output_columns(output, masks)} for output in body.outputs
            ]
            OutputVariable.delete().where(
                OutputVariable.task == job.task,
                OutputVariable.step == job.step,
                OutputVariable.target == job.target_name,
            ).execute()
            for start in range(0, len(rows), 100):
                OutputVariable.insert_many(rows[start : start + 100]).execute()
        if body.artifacts:
            Artifact.insert_many(
                [
                    {
                        "id": ref.artifact or new_row_id(),
                        "task": job.task,
                        "job": job.id,
                        "name": _plain(ref.name)[:250],
                        "size": ref.size,
                        "sha256": ref.sha256,
                    }
                    for ref in body.artifacts
                ]
            ).on_conflict_ignore().execute()

    def _second_end(self, opened: Opened, body: Result, job: Any, digest: str) -> None:
        settle_cancels(opened.cid)
        if digest == job.result_sha256:
            return
        if job.result_sha256 is None and job.state in JOB_ENDED:
            words = f"{job.target_name}: a late result says {body.state}; the job was {job.state} here before"
            say(self._parts.vault, job.task, self._parts.clock_ms(), Level.WARNING, words, job.step, job.target_name)
            log = {"records": body.records, "chain": body.chain, "log_state": _log_state(job, body)}
            Job.update(result_sha256=digest, **log).where(Job.id == job.id).execute()
            if job.log_next_record < body.records:
                self._fetches.look_at(job, self._parts.limits.log_late_ms, ended=True)
            return
        self._alarm(opened, Code.REPLY_STATE, f"a second end: {body.state}")

    def _reject(self, opened: Opened, body: Reject, heard: _Heard) -> None:
        """A spoke that has the job never says this of any frame of it, so one refused each time never began."""
        issued: IssuedFrame | None = IssuedFrame.get_or_none(
            IssuedFrame.mid == body.mid, IssuedFrame.spoke == opened.spoke
        )
        if issued is None:
            if body.code == Code.ENV_SESSION:
                # It had a welcome that it never asked for.
                self.on_conflict(opened.spoke, "another one says hello under its key")
            return
        IssuedFrame.update(refused=True).where(IssuedFrame.frame_sha256 == issued.frame_sha256).execute()
        if body.code == Code.ENV_SESSION:
            _leave_session(issued, opened)
        elif body.code in _OTHER_TIME:
            # It says hello anew, and is welcomed with the time of now.
            SpokeSession.update(live=False).where(SpokeSession.nonce == issued.ses).execute()
        job = Job.get_or_none(Job.id == issued.cid)
        if job is None and body.code not in _SEAL_ANEW:
            self._fetches.refused(issued.cid, body.code)
        # Once accepted it runs, whatever becomes of a second delivery or a cancel; its result or deadline ends it.
        if job is None or job.state is not JobState.SENT:
            return
        logger.info("command refused by spoke", extra={"job": job.id, "code": body.code})
        if may_have_been_taken(job.id):
            return
        sent = IssuedFrame.select().where(IssuedFrame.cid == job.id).count()
        if body.code in _SEAL_ANEW and sent < _REPUBLISH_MAX:
            republish([job.id])
            return
        heard.ended.add(job.id)
        heard.add(job.task, JobEnded(job.id, JobState.REFUSED, None, _plain(f"{body.code}: {body.detail}")))

    def _alarm(self, opened: Opened, code: Code, words: str) -> bool:
        """An authentic message that does not fit: kept, audited, not counted."""
        self._door.refuse(opened.delivery, code)
        if self._says_too_much(opened.spoke):
            return False
        record(
            "reply.refused",
            f"job:{opened.cid}",
            actor=f"spoke:{opened.spoke}",
            actor_kid=opened.received.signer.kid.hex(),
            outcome="refused",
            detail={"code": str(code), "reason": words, "frame_sha256": opened.received.frame_sha256},
        )
        return False

    def _says_too_much(self, spoke: str) -> bool:
        """The audit log is kept for ever, and a spoke that went bad can say more than a disk holds: what goes beyond so
        many a minute is in the quarantine's counts, which are audited too.
        """
        minute = self._parts.clock_ms() // 60_000
        last, count = self._alarms.get(spoke, (minute, 0))
        count = count + 1 if last == minute else 1
        self._alarms[spoke] = (minute, count)
        return count > _ALARMS_A_MINUTE


def _leave_session(issued: IssuedFrame, opened: Opened) -> None:
    """Its spoke is in another session: nothing more goes out in that one, until a beat says that it lives."""
    if opened.received.header.ses != issued.ses:
        SpokeSession.update(live=False).where(SpokeSession.nonce == issued.ses).execute()


def _caught_up(opened: Opened) -> None:
    """A spoke that has fetched the trust documents holds at least the newest one of when it was asked to.

    It may have known that already, and its hello have been sealed before: then no other hello comes to say so.
    """
    row: Outbox | None = Outbox.get_or_none(Outbox.cid == opened.cid, Outbox.kind == OutboxKind.ORDER)
    if row is None or bytes(row.body) != str(Op.UPDATE_TRUST).encode("ascii"):
        return
    version = TrustFrame.select(fn.MAX(TrustFrame.version)).where(TrustFrame.issued_at <= row.created_at).scalar()
    Spoke.update(trust_version=version).where(Spoke.id == opened.spoke, Spoke.trust_version < version).execute()


def _tasks_of(batch: Iterable[Opened]) -> list[str]:
    if not is_postgres():
        return []
    rows: Any = Job.select(Job.task).where(Job.id.in_([opened.cid for opened in batch if opened.cid])).distinct()
    return [task for (task,) in rows.tuples()]


def _known(batch: Iterable[Opened]) -> _Known:
    replies = [opened for opened in batch if opened.cid and opened.received.header.rh]
    cids = list({opened.cid for opened in replies})
    jobs = _jobs(cids).for_update() if is_postgres() else _JOBS.all(cids=cids)
    hashes = list({opened.received.header.rh for opened in replies})
    frames = _ISSUED.tuples(hashes=hashes)
    found = {job.id: job for job in jobs}
    issued = {digest: (cid, spoke) for digest, cid, spoke in frames}
    return _Known(found, issued, _orders([cid for cid in cids if cid not in found]))


def _jobs(cids: Sequence[Any]) -> Any:
    """As far as replies need them."""
    return Job.select(
        Job.id, Job.created_at, Job.task, Job.step, Job.target, Job.target_name, Job.spoke, Job.state, Job.sent_at,
        Job.started_at, Job.log_next_record, Job.log_chain, Job.log_gaps, Job.log_state, Job.result_sha256,
    ).where(Job.id.in_(cids)).order_by(Job.id)  # fmt: skip


_JOBS = PreparedRows(Job, lambda count: _jobs(holes("cids", count)), "cids")


def _orders(cids: Sequence[str]) -> dict[str, str]:
    """Which of these are no jobs but orders to the spoke itself, and to which one."""
    if not cids:
        return {}
    rows: Any = Outbox.select(Outbox.cid, Outbox.spoke).where(
        Outbox.cid.in_(cids), Outbox.kind.in_([OutboxKind.ORDER, OutboxKind.CALL])
    )
    return dict(rows.tuples())


def _acknowledge(opened: Opened, body: Ack, known: _Known, heard: _Heard) -> None:
    job = known.jobs[opened.cid]
    task = job.task
    if job.state is JobState.ACCEPTED:
        heard.renewed.append(opened.cid)
    started = body.state is AckState.RUNNING
    heard.add(task, JobStarted(opened.cid) if started else JobAccepted(opened.cid))


def _is_stopped(body: Result) -> bool:
    """Whether somebody ended it, or tried to."""
    return body.state in (EndState.CANCELLED, EndState.TIMED_OUT) or bool(body.ended_processes or body.survivors)


def _started_at(job: Any, body: Result, now_ms: int) -> int | None:
    """When a job began of which nobody said so before its end; only the length is the target's clock's word."""
    if job.started_at is not None or not body.started_at:
        return None
    return max(now_ms - max(0, body.ended_at - body.started_at), job.sent_at or 0)


def _log_state(job: Any, body: Result) -> LogState:
    if job.log_state in (LogState.TRUNCATED, LogState.DIFFERS):
        return LogState(job.log_state)
    if job.log_gaps:
        return LogState.GAP
    if job.log_next_record < body.records:
        return LogState.OPEN
    return end_state(job.log_next_record, job.log_chain, body.records, body.chain)


def _never(_job: Any) -> bool:
    """Where no hub was restored."""
    return False


def _nothing(_spoke: str, _seen: str) -> None:
    """Where nobody minds."""


def _plain(text: str) -> str:
    """PostgreSQL's texts hold no NUL."""
    return text.replace("\0", "\\0")

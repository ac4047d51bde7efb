"""What must go out goes out: rows of the outbox become frames, again and again until they are confirmed.

    waiting (for the spoke's live session) --> published --> accepted --> done
        ^                                          |                       dead: never to be sent
        `--- not confirmed, not accepted in time, or a new session: sealed anew under the same cid

Frames are sealed outside the transaction and noted in it (hash, number) before they are sent. Cancels go first.
One thread; it is woken by each commit that put something in, so nothing waits for a clock.
"""

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Condition, Event
from typing import Any

from hub.orchestrator.events import Event as TaskEvent
from hub.orchestrator.events import JobEnded
from hub.orchestrator.parts import EngineParts
from hub.orchestrator.sealing import Sealer, Session
from hub.orchestrator.secret_values import Unsendable
from hub.orchestrator.steering import Steering
from hub.states import JobState, OutboxKind, OutboxState
from hub.storage.database import connection, is_postgres, write_tx
from hub.storage.models import IssuedFrame, Job, Outbox, Spoke, SpokeSession
from hub.storage.prepared import Prepared, hole, holes
from wire.connection import Outgoing
from wire.errors import Refused, Unroutable
from wire.exchange import Sealed
from wire.messages import Op
from wire.topology import COMMANDS

logger = logging.getLogger(__name__)

_IN_SESSIONS = (OutboxKind.COMMAND, OutboxKind.CANCEL, OutboxKind.ORDER)
_IDLE_S = 1.0
_SWEEP_MS = 1_000
_RETRY_MS = 500
_RETRY_MAX_MS = 30_000
_PUT_BACK_MAX = 1_000

_KINDS = Prepared(lambda: Outbox.select(Outbox.kind).where(Outbox.state == OutboxState.WAITING).distinct())
_WELCOMES = Prepared(
    lambda: (
        Outbox.select(Outbox.id, Outbox.spoke, Outbox.body, SpokeSession.id, SpokeSession.nonce, SpokeSession.hub_nonce)
        .join(SpokeSession, on=(SpokeSession.id == Outbox.cid))
        .where(Outbox.kind == OutboxKind.WELCOME, Outbox.state == OutboxState.WAITING)
        .order_by(Outbox.id)
        .limit(hole("limit"))
    )
)
_IN_LIVE_SESSIONS = Prepared(
    lambda count: (
        Outbox.select(
            Outbox.id,
            Outbox.kind,
            Outbox.cid,
            Outbox.body,
            Outbox.expires_at,
            Outbox.spoke,
            Job.task,
            SpokeSession.id,
            SpokeSession.nonce,
            SpokeSession.seq_out,
        )
        .join(SpokeSession, on=(SpokeSession.spoke == Outbox.spoke))
        .join(Job, on=(Job.id == Outbox.cid))
        .join(Spoke, on=(Spoke.id == Outbox.spoke))
        .where(
            Outbox.state == OutboxState.WAITING,
            Outbox.kind.in_(holes("kinds", count)),
            Outbox.expires_at > hole("now_ms"),
            SpokeSession.live,
            SpokeSession.valid_until.is_null(),
            # Who does not know that a key was revoked is told first.
            Spoke.trust_version >= hole("floor"),
        )
        # "cancel" stands before "command" in the alphabet too.
        .order_by(Outbox.kind, Outbox.id)
        .limit(hole("limit"))
    ),
    "kinds",
)
_STILL_WAITING = Prepared(
    lambda count: Outbox.select(Outbox.id).where(
        Outbox.id.in_(holes("rows", count)), Outbox.state == OutboxState.WAITING
    ),
    "rows",
)
_MOVE_NUMBER = Prepared(
    lambda: SpokeSession.update(seq_out=hole("after")).where(
        SpokeSession.id == hole("session"), SpokeSession.seq_out == hole("before")
    )
)
_SENT = Prepared(
    lambda count: Job.update(sent_at=hole("at")).where(Job.id.in_(holes("cids", count)), Job.sent_at.is_null()), "cids"
)
_FRAME_COLUMNS = ("frame_sha256", "cid", "mid", "spoke", "ses", "issued_at")
_ISSUED = Prepared(lambda: IssuedFrame.insert({name: hole(name) for name in _FRAME_COLUMNS}))
_PUBLISHED = Prepared(
    lambda count: Outbox.update(
        state=OutboxState.PUBLISHED, published_at=hole("at"), attempts=Outbox.attempts + 1
    ).where(Outbox.id.in_(holes("rows", count))),
    "rows",
)


@dataclass(frozen=True, slots=True)
class _Due:
    """One row that may go now, and the session under which it goes."""

    row: int
    kind: OutboxKind
    cid: str
    task: str
    reason: str
    expires_ms: int
    session_row: str
    session: Session
    seq_out: int


@dataclass(frozen=True, slots=True)
class _Made:
    due: _Due
    sealed: Sealed


class Publisher:
    """The thread that empties the outbox."""

    def __init__(
        self, parts: EngineParts, sealer: Sealer, steering: Steering, stopped: Callable[[], str] = str
    ) -> None:
        """`stopped` says why no command may be issued at present; "" where they may."""
        self._parts = parts
        self._stopped = stopped
        self._sealer = sealer
        self._steering = steering
        self._changed = Condition()
        self._woken = False
        self._failed: list[tuple[int, str, BaseException]] = []
        self._not_before: dict[int, tuple[int, int]] = {}
        self._swept_ms = 0
        self._kinds: set[OutboxKind] = set()

    def wake(self) -> None:
        """There may be something to send; called after commits, from any thread."""
        with self._changed:
            self._woken = True
            self._changed.notify()

    def run(self, stop: Event) -> None:
        """Serve until the event is set; what goes wrong is logged, and tried again."""
        with connection():
            self._adopt()
            while not stop.is_set():
                try:
                    with connection():
                        if not self.work():
                            self._wait()
                except Exception:
                    logger.exception("outbox round failed")
                    stop.wait(_IDLE_S)

    def work(self) -> bool:
        """One round: what failed is put back, what is due is sealed and sent. False where nothing was."""
        with self._changed:
            self._woken = False
        self._put_back_failed()
        self._put_back_unaccepted()
        self._kinds = {OutboxKind(kind) for (kind,) in _KINDS.tuples()}
        due = self._due() if self._kinds else []
        if not due:
            return False
        self._sealer.begin(item.session.spoke for item in due)
        made, unsendable = self._seal(due)
        going = self._note(made, unsendable)
        self._publish(going)
        return bool(going or unsendable)

    def _wait(self) -> None:
        with self._changed:
            if not self._woken and not self._failed:
                self._changed.wait(_IDLE_S)

    def _adopt(self) -> None:
        """What a former process had sealed and perhaps not sent: the same cid again does no harm."""
        with write_tx():
            Outbox.update(state=OutboxState.WAITING).where(
                Outbox.state == OutboxState.PUBLISHED, Outbox.kind.in_(_IN_SESSIONS)
            ).execute()

    def _put_back_failed(self) -> None:
        with self._changed:
            failed, self._failed = self._failed, []
        if not failed:
            return
        for spoke in {spoke for _, spoke, error in failed if isinstance(error, Unroutable)}:
            self._parts.declare_mailbox(spoke)
        now_ms = self._parts.clock_ms()
        for row, _, _ in failed:
            tries = self._not_before.get(row, (0, 0))[1]
            delay_ms = min(_RETRY_MS * 2 ** min(tries, 10), _RETRY_MAX_MS)
            self._not_before[row] = (now_ms + delay_ms, tries + 1)
        logger.warning("publishing failed", extra={"frames": len(failed), "reason": str(failed[-1][2])[:200]})
        self._put_back(Outbox.id.in_([row for row, _, _ in failed]))

    def _put_back_unaccepted(self) -> None:
        """Commands that no spoke acknowledged in time, later with each attempt; cancels until the job has ended."""
        now_ms = self._parts.clock_ms()
        if now_ms - self._swept_ms < _SWEEP_MS:
            return
        self._swept_ms = now_ms
        self._not_before = {row: kept for row, kept in self._not_before.items() if kept[0] > now_ms - _RETRY_MAX_MS * 4}
        wait_ms = self._parts.limits.republish_s * 1000
        late = Outbox.published_at + wait_ms * Outbox.attempts < now_ms
        if Outbox.select(Outbox.id).where(Outbox.state == OutboxState.PUBLISHED, late).exists():
            self._put_back(late)

    def _put_back(self, which: Any) -> None:
        with write_tx():
            Outbox.update(state=OutboxState.WAITING).where(which, Outbox.state == OutboxState.PUBLISHED).execute()

    def _due(self) -> list[_Due]:
        """What may go now: welcomes, then cancels, then commands in the order in which they were asked for."""
        limit = self._parts.limits.batch
        due = self._due_welcomes(limit)
        due += self._due_orders(limit - len(due))
        kinds = [OutboxKind.CANCEL] if self._stopped() else [OutboxKind.CANCEL, OutboxKind.COMMAND]
        return due + self._due_in_sessions(kinds, limit - len(due)) if len(due) < limit else due

    def _due_welcomes(self, limit: int) -> list[_Due]:
        rows = _WELCOMES.tuples(limit=limit) if OutboxKind.WELCOME in self._kinds else []
        return [
            _Due(row, OutboxKind.WELCOME, "", "", "", 0, session_row, Session(spoke, nonce, hub_nonce, *_said(body)), 0)
            for row, spoke, body, session_row, nonce, hub_nonce in rows
        ]

    def _due_orders(self, limit: int) -> list[_Due]:
        """What spokes themselves are asked for: before any command, for one may need the keys of the other."""
        if OutboxKind.ORDER not in self._kinds:
            return []
        now_ms = self._parts.clock_ms()
        rows: Any = (
            Outbox.select(
                Outbox.id,
                Outbox.cid,
                Outbox.body,
                Outbox.expires_at,
                Outbox.spoke,
                SpokeSession.id,
                SpokeSession.nonce,
                SpokeSession.seq_out,
            )
            .join(SpokeSession, on=(SpokeSession.spoke == Outbox.spoke))
            .where(
                Outbox.kind == OutboxKind.ORDER,
                Outbox.state == OutboxState.WAITING,
                Outbox.expires_at > now_ms,
                SpokeSession.live,
                SpokeSession.valid_until.is_null(),
            )
            .order_by(Outbox.id)
            .limit(limit)
            .tuples()
        )
        return [
            _Due(row, OutboxKind.ORDER, cid, "", bytes(body).decode(), expires_ms, session, Session(spoke, nonce), seq)
            for row, cid, body, expires_ms, spoke, session, nonce, seq in rows
            if self._not_before.get(row, (0, 0))[0] <= now_ms
        ]

    def _due_in_sessions(self, kinds: Sequence[OutboxKind], limit: int) -> list[_Due]:
        now_ms = self._parts.clock_ms()
        held = {row for row, (not_before_ms, _) in self._not_before.items() if not_before_ms > now_ms}
        found = _IN_LIVE_SESSIONS.tuples(
            kinds=kinds, now_ms=now_ms, floor=self._parts.trust().floor, limit=limit + min(len(held), _PUT_BACK_MAX)
        )
        due = [
            _Due(row, OutboxKind(kind), cid, task, bytes(body or b"").decode(), ends_ms, at, Session(spoke, nonce), seq)
            for row, kind, cid, body, ends_ms, spoke, task, at, nonce, seq in found
            if row not in held
        ]
        return due[:limit]

    def _seal(self, due: Sequence[_Due]) -> tuple[list[_Made], list[tuple[_Due, str]]]:
        """Frames with the next numbers of their sessions, and what cannot be made, with the reason."""
        numbers: dict[str, int] = {}
        made: list[_Made] = []
        unsendable: list[tuple[_Due, str]] = []
        for item in due:
            seq = numbers.get(item.session_row, item.seq_out) + 1
            try:
                sealed = self._frame(item, seq)
            except Unsendable as error:
                unsendable.append((item, str(error)))
            except Refused as refusal:
                unsendable.append((item, f"{refusal.code}: {refusal.detail}"))
            else:
                made.append(_Made(item, sealed))
                numbers[item.session_row] = seq
        return made, unsendable

    def _frame(self, item: _Due, seq: int) -> Sealed:
        match item.kind:
            case OutboxKind.WELCOME:
                return self._sealer.welcome(item.session)
            case OutboxKind.ORDER:
                return self._sealer.order(item.cid, Op(item.reason), item.session, seq)
            case OutboxKind.CANCEL:
                return self._sealer.cancel(item.cid, item.reason, item.session, seq)
            case _:
                return self._sealer.command(item.task, item.cid, item.session, seq, item.expires_ms)

    def _note(self, made: Sequence[_Made], unsendable: Sequence[tuple[_Due, str]]) -> list[_Made]:
        """Store what goes out before it does; what changed meanwhile does not go."""
        now_ms = self._parts.clock_ms()
        with write_tx():
            still = self._still_waiting([item.due.row for item in made])
            going = [item for item in made if item.due.row in still]
            moved = self._move_numbers(going)
            going = [item for item in going if item.due.kind is OutboxKind.WELCOME or item.due.session_row in moved]
            self._write(going, now_ms)
            self._give_up(unsendable)
        return going

    def _still_waiting(self, rows: Sequence[int]) -> set[int]:
        if is_postgres():
            query = Outbox.select(Outbox.id).where(Outbox.id.in_(rows), Outbox.state == OutboxState.WAITING)
            locked: Any = query.order_by(Outbox.id).for_update().tuples()
            return {row for (row,) in locked}
        return {row for (row,) in _STILL_WAITING.tuples(rows=rows)}

    def _move_numbers(self, going: Sequence[_Made]) -> set[str]:
        """Sessions whose counter was where we thought: another engine may have used it (then nothing of ours goes)."""
        highest: dict[str, tuple[int, int]] = {}
        for item in going:
            if item.due.kind is not OutboxKind.WELCOME:
                highest[item.due.session_row] = (item.due.seq_out, item.sealed.seq)
        return {
            session
            for session, (before, after) in highest.items()
            if _MOVE_NUMBER.run(session=session, before=before, after=after)
        }

    def _write(self, going: Sequence[_Made], now_ms: int) -> None:
        commands = [item.due.cid for item in going if item.due.kind is OutboxKind.COMMAND]
        welcomes = [item.due.row for item in going if item.due.kind is OutboxKind.WELCOME]
        others = [item for item in going if item.due.kind is not OutboxKind.WELCOME]
        if commands:
            _SENT.run(at=now_ms, cids=commands)
        if others:
            # Cancels too: one that comes before its command is answered by a result of its own.
            _ISSUED.run_each(_issued(item, now_ms) for item in others)
            _PUBLISHED.run(at=now_ms, rows=[item.due.row for item in others])
        if welcomes:
            # A welcome that is lost is asked for anew with another nonce.
            Outbox.update(state=OutboxState.DONE, published_at=now_ms).where(Outbox.id.in_(welcomes)).execute()

    def _give_up(self, unsendable: Sequence[tuple[_Due, str]]) -> None:
        events: dict[str, list[TaskEvent]] = {}
        for item, reason in unsendable:
            Outbox.update(state=OutboxState.DEAD).where(Outbox.id == item.row).execute()
            if item.kind is OutboxKind.COMMAND:
                events.setdefault(item.task, []).append(JobEnded(item.cid, JobState.REFUSED, None, reason))
        self._steering.feed(events)

    def _publish(self, going: Sequence[_Made]) -> None:
        now_ms = self._parts.clock_ms()
        futures = self._parts.connection.publish_many([_outgoing(item, now_ms) for item in going])
        for item, future in zip(going, futures, strict=True):
            future.add_done_callback(lambda done, due=item.due: self._confirmed(done, due))  # type: ignore[misc]  # due

    def _confirmed(self, done: "Future[None]", due: _Due) -> None:
        error = done.exception()
        if error is None or due.kind is OutboxKind.WELCOME:
            return
        with self._changed:
            self._failed.append((due.row, due.session.spoke, error))
            self._changed.notify()


def republish(cids: Iterable[str]) -> int:
    """Seal the commands of these jobs anew, if no spoke has accepted them; inside `write_tx`."""
    return int(
        Outbox.update(state=OutboxState.WAITING)
        .where(
            Outbox.cid.in_(list(cids)),
            Outbox.kind == OutboxKind.COMMAND,
            Outbox.state == OutboxState.PUBLISHED,
        )
        .execute()
    )


def settle_cancels(cid: str) -> None:
    """The job's end is known: nobody needs to be asked to stop it any more; inside `write_tx`."""
    Outbox.update(state=OutboxState.DONE).where(
        Outbox.cid == cid,
        Outbox.kind == OutboxKind.CANCEL,
        Outbox.state.in_([OutboxState.WAITING, OutboxState.PUBLISHED]),
    ).execute()


def _said(body: bytes) -> tuple[str, int]:
    """What the hello brought, which counts only when the session is live: to which key its welcome is sealed, and
    which trust document decides by whose key it is signed.
    """
    said = json.loads(bytes(body))
    return str(said["box_pk"]), int(said["trust_version"])


def _issued(item: _Made, now_ms: int) -> dict[str, object]:
    return {
        "frame_sha256": item.sealed.sha256,
        "cid": item.due.cid,
        "mid": item.sealed.mid,
        "spoke": item.due.session.spoke,
        "ses": item.due.session.nonce,
        "issued_at": now_ms,
    }


def _outgoing(item: _Made, now_ms: int) -> Outgoing:
    left_ms = item.due.expires_ms - now_ms if item.due.expires_ms else 60_000
    return Outgoing(
        exchange=COMMANDS,
        key=item.due.session.spoke,
        body=item.sealed.frame,
        message_id=item.sealed.mid,
        expiration_ms=max(left_ms, 1),
    )

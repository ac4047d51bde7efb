"""What must go out goes out: rows of the outbox become frames, again and again until they are confirmed.

    waiting (for the spoke's live session) --> published --> accepted --> done
        ^                                          |                       dead: never to be sent
        `--- not confirmed, not accepted in time, or a new session: sealed anew under the same cid

Frames are sealed outside the transaction and noted in it (hash, number) before they are sent. Cancels go first.
One thread at a time: whoever commits a little sends it at once where the publisher's own thread rests; for more, that
one is woken. So nothing waits for a clock.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Condition, Event, Lock
from typing import Any

from hub.orchestrator.due import Due, Waiting
from hub.orchestrator.events import Event as TaskEvent
from hub.orchestrator.events import JobEnded
from hub.orchestrator.parts import EngineParts
from hub.orchestrator.sealing import Sealer
from hub.orchestrator.secret_values import Unsendable
from hub.orchestrator.steering import Steering
from hub.states import JobState, OutboxKind, OutboxState
from hub.storage.database import connection, is_postgres, is_writing, write_tx
from hub.storage.models import IssuedFrame, Job, Outbox, SpokeSession
from hub.storage.prepared import Prepared, hole, holes
from wire.connection import Outgoing
from wire.crash import crash_point
from wire.errors import Refused, Unroutable
from wire.exchange import Sealed
from wire.messages import Op
from wire.topology import COMMANDS

logger = logging.getLogger(__name__)

_IN_SESSIONS = (OutboxKind.COMMAND, OutboxKind.CANCEL, OutboxKind.ORDER)
# Sent once, outside of any session of ours: what is lost is asked for anew.
_BESIDE = (OutboxKind.WELCOME, OutboxKind.CALL)
_IDLE_S = 1.0
_SWEEP_MS = 1_000
# Sent by whoever has committed it: to change threads costs as much as a few frames.
_LITTLE = 4

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
class _Made:
    due: Due
    sealed: Sealed


class Publisher:
    """The thread that empties the outbox."""

    def __init__(
        self, parts: EngineParts, sealer: Sealer, steering: Steering, stopped: Callable[[], str] = str
    ) -> None:
        """`stopped` says why no command may be issued at present; "" where they may."""
        self._parts = parts
        self._waiting = Waiting(parts, stopped)
        self._sealer = sealer
        self._steering = steering
        self._turn = Lock()
        self._serving = False
        self._changed = Condition()
        self._woken = False
        self._failed: list[tuple[int, str, BaseException]] = []
        self._swept_ms = 0

    def wake(self) -> None:
        """There may be something to send; called after commits, from any thread."""
        if not (self._serving and self._sent_here()):
            self._call()

    def stop(self) -> None:
        """Let `run` see that it is over."""
        self._serving = False
        self._call()

    def _call(self) -> None:
        with self._changed:
            self._woken = True
            self._changed.notify()

    def _sent_here(self) -> bool:
        """Send it in this thread; False where it is much, or another thread is at it."""
        if is_writing() or not self._turn.acquire(blocking=False):
            return False
        try:
            with connection():
                due = self._waiting.due(_LITTLE + 1)
                if len(due) > _LITTLE:
                    return False
                return self._send(due) == len(due)
        except Exception:
            # It is committed: the other thread sends it, or says what is the matter.
            logger.exception("outbox round failed")
            return False
        finally:
            self._turn.release()

    def run(self, stop: Event) -> None:
        """Serve until the event is set; what goes wrong is logged, and tried again."""
        with connection():
            self._serving = True
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
        with self._turn:
            self._put_back_failed()
            self._put_back_unaccepted()
            due = self._waiting.due(self._parts.limits.batch)
            self._send(due)
            return bool(due)

    def _send(self, due: Sequence[Due]) -> int:
        """How many went, or never will; where another engine moved a session's number first, ours goes next time."""
        if not due:
            return 0
        self._sealer.begin(item.session.spoke for item in due)
        made, unsendable = self._seal(due)
        crash_point("outbox.sealed")
        going = self._note(made, unsendable)
        crash_point("outbox.noted")
        self._publish(going)
        crash_point("outbox.published")
        return len(going) + len(unsendable)

    def _wait(self) -> None:
        with self._changed:
            if not self._woken and not self._failed:
                self._changed.wait(_IDLE_S)

    def take_over(self, _node: str) -> None:
        """Another engine has died, or we are the first one."""
        self._adopt()
        self._call()

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
        for row, _, _ in failed:
            self._waiting.hold_back(row)
        logger.warning("publishing failed", extra={"frames": len(failed), "reason": str(failed[-1][2])[:200]})
        self._put_back(Outbox.id.in_([row for row, _, _ in failed]))

    def _put_back_unaccepted(self) -> None:
        """Commands that no spoke acknowledged in time, later with each attempt; cancels until the job has ended."""
        now_ms = self._parts.clock_ms()
        if now_ms - self._swept_ms < _SWEEP_MS:
            return
        self._swept_ms = now_ms
        self._waiting.forget_old()
        wait_ms = self._parts.limits.republish_s * 1000
        late = Outbox.published_at + wait_ms * Outbox.attempts < now_ms
        if Outbox.select(Outbox.id).where(Outbox.state == OutboxState.PUBLISHED, late).exists():
            self._put_back(late)

    def _put_back(self, which: Any) -> None:
        with write_tx():
            Outbox.update(state=OutboxState.WAITING).where(which, Outbox.state == OutboxState.PUBLISHED).execute()

    def _seal(self, due: Sequence[Due]) -> tuple[list[_Made], list[tuple[Due, str]]]:
        """Frames with the next numbers of their sessions, and what cannot be made, with the reason."""
        numbers: dict[str, int] = {}
        made: list[_Made] = []
        unsendable: list[tuple[Due, str]] = []
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

    def _frame(self, item: Due, seq: int) -> Sealed:
        match item.kind:
            case OutboxKind.CALL:
                return self._sealer.order(item.cid, Op.UPDATE_TRUST, item.session, seq)
            case OutboxKind.WELCOME:
                return self._sealer.welcome(item.session)
            case OutboxKind.ORDER:
                return self._sealer.order(item.cid, item.reason, item.session, seq)
            case OutboxKind.CANCEL:
                return self._sealer.cancel(item.cid, item.reason, item.session, seq)
            case _:
                return self._sealer.command(item.task, item.cid, item.session, seq, item.expires_ms)

    def _note(self, made: Sequence[_Made], unsendable: Sequence[tuple[Due, str]]) -> list[_Made]:
        """Store what goes out before it does; what changed meanwhile does not go."""
        now_ms = self._parts.clock_ms()
        with write_tx():
            still = self._still_waiting([item.due.row for item in made])
            going = [item for item in made if item.due.row in still]
            moved = self._move_numbers(going)
            going = [item for item in going if item.due.kind in _BESIDE or item.due.session_row in moved]
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
            if item.due.kind not in _BESIDE:
                highest[item.due.session_row] = (item.due.seq_out, item.sealed.seq)
        return {
            session
            for session, (before, after) in highest.items()
            if _MOVE_NUMBER.run(session=session, before=before, after=after)
        }

    def _write(self, going: Sequence[_Made], now_ms: int) -> None:
        commands = [item.due.cid for item in going if item.due.kind is OutboxKind.COMMAND]
        beside = [item.due.row for item in going if item.due.kind in _BESIDE]
        others = [item for item in going if item.due.kind not in _BESIDE]
        calls = [item for item in going if item.due.kind is OutboxKind.CALL]
        if commands:
            _SENT.run(at=now_ms, cids=commands)
        if others:
            # Cancels too: one that comes before its command is answered by a result of its own.
            _ISSUED.run_each(_issued(item, now_ms) for item in others)
            _PUBLISHED.run(at=now_ms, rows=[item.due.row for item in others])
        if calls:
            _ISSUED.run_each(_issued(item, now_ms) for item in calls)
        if beside:
            # A welcome that is lost is asked for anew with another nonce.
            Outbox.update(state=OutboxState.DONE, published_at=now_ms).where(Outbox.id.in_(beside)).execute()

    def _give_up(self, unsendable: Sequence[tuple[Due, str]]) -> None:
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

    def _confirmed(self, done: "Future[None]", due: Due) -> None:
        error = done.exception()
        if error is None or due.kind in _BESIDE:
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

"""What happens because time passes: deadlines of tasks, spokes that fall silent, logs that stay incomplete, old rows.

Timers are rows, so a deadline survives any restart; this thread only looks at them.
"""

import logging
from collections.abc import Callable
from threading import Event
from typing import Any

from hub.orchestrator import waiting
from hub.orchestrator.events import DEADLINE_TIMER, TimerFired
from hub.orchestrator.events import Event as TaskEvent
from hub.orchestrator.hearing import Hearing
from hub.orchestrator.leases import CHORES
from hub.orchestrator.log_fetch import LogFetches
from hub.orchestrator.parts import EngineParts
from hub.orchestrator.renewing import Renewing
from hub.orchestrator.sessions import Sessions
from hub.orchestrator.steering import Steering
from hub.states import OutboxKind, OutboxState
from hub.storage.database import connection, is_postgres, write_tx
from hub.storage.models import IssuedFrame, Outbox, SpokeSession, Timer
from hub.storage.prepared import Prepared, hole
from wire.crash import crash_point

logger = logging.getLogger(__name__)

_TICK_S = 0.5
_SESSIONS_EVERY_MS = 1_000
_WORDS_EVERY_MS = 2_000
_QUEUE_EVERY_MS = 1_000
_LOGS_EVERY_MS = 1_000
_RENEW_EVERY_MS = 2_000
_TIDY_EVERY_MS = 3_600_000
_TIMERS_AT_ONCE = 500
_DAY_MS = 86_400_000
_FRAMES_KEPT_MS = 30 * _DAY_MS

_DUE = Prepared(lambda: Timer.select(Timer.id).where(Timer.due_at <= hole("now_ms")).limit(1))


class Clockwork:
    """The thread that looks at the clock."""

    def __init__(
        self,
        parts: EngineParts,
        steering: Steering,
        sessions: Sessions,
        fetches: LogFetches,
        stopped: Callable[[], str] = str,
    ) -> None:
        self._parts = parts
        self._steering = steering
        self._sessions = sessions
        self._stopped = stopped
        self._hearing = Hearing(lambda: not parts.broker_trouble(), int(parts.limits.deaf_grace_s * 1000))
        self._chores: list[tuple[int, Callable[[int], None]]] = [
            (_SESSIONS_EVERY_MS, self._sweep_sessions),
            (_WORDS_EVERY_MS, self._refresh_words),
            (_QUEUE_EVERY_MS, self._look_after_queue),
            (_LOGS_EVERY_MS, fetches.work),
            (_RENEW_EVERY_MS, Renewing(parts, steering, stopped).work),
            (_TIDY_EVERY_MS, self._tidy),
        ]
        self._done_at: dict[int, int] = {}

    def run(self, stop: Event) -> None:
        with connection():
            while not stop.is_set():
                try:
                    with connection():
                        self.work()
                except Exception:
                    logger.exception("clockwork round failed")
                stop.wait(_TICK_S)

    def work(self) -> None:
        """What is due now."""
        now_ms = self._parts.clock_ms()
        self._fire(now_ms)
        self._parts.leases.alone(CHORES, lambda: self._do_chores(now_ms))()

    def _do_chores(self, now_ms: int) -> None:
        """Sweeps over all rows, which one node does for all."""
        for number, (every_ms, chore) in enumerate(self._chores):
            if now_ms - self._done_at.get(number, 0) >= every_ms:
                self._done_at[number] = now_ms
                chore(now_ms)

    def _fire(self, now_ms: int) -> None:
        trusted = self._hearing.trusts_silence(now_ms)
        if _DUE.first(now_ms=now_ms) is None:
            return
        which = (Timer.due_at <= now_ms) if trusted else (Timer.due_at <= now_ms) & (Timer.name != DEADLINE_TIMER)
        with write_tx():
            due = _claimed(Timer.select().where(which).order_by(Timer.due_at).limit(_TIMERS_AT_ONCE))
            if not due:
                return
            events: dict[str, list[TaskEvent]] = {}
            for timer in due:
                events.setdefault(timer.task, []).append(TimerFired(timer.name))
            Timer.delete().where(Timer.id.in_([timer.id for timer in due])).execute()
            self._steering.feed(events)
            crash_point("timers.fired")

    def _sweep_sessions(self, _: int) -> None:
        if self._sessions.silent():
            with write_tx():
                self._sessions.sweep()

    def _refresh_words(self, now_ms: int) -> None:
        waiting.refresh(now_ms, self._stopped())

    def _look_after_queue(self, _: int) -> None:
        self._steering.turns.look_after()

    def _tidy(self, now_ms: int) -> None:
        """Rows that nobody will ask for."""
        with write_tx():
            IssuedFrame.delete().where(IssuedFrame.issued_at < now_ms - _FRAMES_KEPT_MS).execute()
            over = Outbox.state.in_([OutboxState.DONE, OutboxState.DEAD]) & (Outbox.created_at < now_ms - _DAY_MS)
            # A cancel that nobody answered stays what it was, and is not sent after its time.
            Outbox.delete().where(over | (Outbox.expires_at < now_ms - _DAY_MS)).execute()
            unanswered: Any = SpokeSession.select(SpokeSession.id).where(
                ~SpokeSession.live, SpokeSession.last_counter == 0, SpokeSession.opened_at < now_ms - _DAY_MS
            )
            Outbox.delete().where(Outbox.kind == OutboxKind.WELCOME, Outbox.cid.in_(unanswered)).execute()
            SpokeSession.delete().where(
                ~SpokeSession.live, SpokeSession.last_counter == 0, SpokeSession.opened_at < now_ms - _DAY_MS
            ).execute()


def _claimed(query: Any) -> list[Timer]:
    """Those that no other engine is at; ours until the end of the transaction."""
    return list(query.for_update("FOR UPDATE SKIP LOCKED") if is_postgres() else query)

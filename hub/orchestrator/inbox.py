"""What spokes say, in batches: opened and verified, then one transaction a batch, then acknowledged.

Three queues, a thread each: results (hello, ack, result, reject), logs, beats. A batch whose transaction fails is done
again message by message, so one that nobody foresaw ends in quarantine alone and takes no other with it; where the
database is away, nothing is acknowledged and the broker delivers again.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from threading import Event

from hub.orchestrator.carried import Carried
from hub.orchestrator.gathering import Stream
from hub.orchestrator.held import HeldResults
from hub.orchestrator.log_inbox import CursorMoved, EarlyFrames, LogInbox
from hub.orchestrator.opening import Door, Opened
from hub.orchestrator.parts import EngineParts
from hub.orchestrator.quarantine import QuarantineRing
from hub.orchestrator.replies import Replies
from hub.orchestrator.sessions import Sessions
from hub.storage.database import connection, database_is_away, is_postgres, write_tx
from wire.connection import Delivery, Subscription
from wire.crash import crash_point
from wire.envelope import MessageType
from wire.errors import Code, Refused
from wire.topology import HUB_BEATS, HUB_LOGS, HUB_RESULTS

logger = logging.getLogger(__name__)

_WAIT_S = 0.5
_PAUSE_S = 1.0
_LOOK_EVERY_MS = 200
_UNFORESEEN = "UNFORESEEN"
# Where an envelope names its type: docs/protocol.md.
_TYPE_AT = slice(4, 6)
_ROTATE = MessageType.ROTATE.to_bytes(2, "big")
_REPLIES = frozenset({MessageType.ACK, MessageType.RESULT, MessageType.REJECT})


class Inbox:
    """The three consuming loops."""

    def __init__(
        self,
        parts: EngineParts,
        door: Door,
        quarantine: QuarantineRing,
        sessions: Sessions,
        replies: Replies,
        logs: LogInbox,
        held: HeldResults,
        carried: Carried,
    ) -> None:
        self._parts = parts
        self._door = door
        self._quarantine = quarantine
        self._sessions = sessions
        self._replies = replies
        self._logs = logs
        self._held = held
        self._carried = carried
        self._looked_ms = 0
        self._early = EarlyFrames(parts.limits.early_s)

    def run_results(self, stop: Event) -> None:
        limits = self._parts.limits
        self._serve(HUB_RESULTS, limits.batch, limits.batch * 5, self._results, stop)

    def run_logs(self, stop: Event) -> None:
        limits = self._parts.limits
        self._serve(HUB_LOGS, limits.log_batch, limits.log_batch * 2, self._log_batch, stop, self._early.clear)

    def run_beats(self, stop: Event) -> None:
        limits = self._parts.limits
        self._serve(HUB_BEATS, limits.beat_batch, limits.beat_batch * 2, self._beats, stop)

    def _serve(
        self,
        queue: str,
        limit: int,
        prefetch: int,
        take: Callable[[Sequence[Delivery]], Sequence[Delivery]],
        stop: Event,
        forget: Callable[[], None] = lambda: None,
    ) -> None:
        """Take batches until the event is set; a subscription that fails is made anew.

        Args:
            queue: Whose.
            limit: At most so many at once.
            prefetch: At most so many unanswered.
            take: Says which are done with.
            stop: Ends it.
            forget: What was taken and not answered comes again, to whoever is there.
        """
        stream = Stream()
        while not stop.is_set():
            try:
                subscription = self._parts.connection.consume(queue, prefetch=prefetch)
                try:
                    # One connection for all rounds: most of them find nothing, and a new one costs more than that.
                    with connection():
                        while not stop.is_set():
                            self._round(subscription, limit, take, stream)
                finally:
                    forget()
                    subscription.close()
            except Exception:
                logger.exception("consuming failed", extra={"queue": queue})
                stop.wait(_PAUSE_S)

    def _round(
        self,
        subscription: Subscription,
        limit: int,
        take: Callable[[Sequence[Delivery]], Sequence[Delivery]],
        stream: Stream,
    ) -> None:
        deliveries = subscription.take(limit, _WAIT_S)
        wait_s = stream.wait_s(len(deliveries))
        if wait_s and len(deliveries) < limit:
            time.sleep(wait_s)
            deliveries += subscription.take(limit - len(deliveries), 0)
        with connection():
            done = take(deliveries)
            self._quarantine.flush()
        if done:
            subscription.ack(done)

    def _results(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        return [answered for part in _cut_after_rotations(deliveries) for answered in self._result_part(part)]

    def _result_part(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        opened = self._door.open(self._carried.without_enrolments(deliveries))
        overdue = self._overdue()
        kept: list[Opened] = []
        if opened or overdue:
            kept = self._in_one_or_singly(opened, overdue)
            crash_point("replies.committed")
        waiting = {id(item.delivery) for item in kept}
        answered = [delivery for delivery in deliveries if id(delivery) not in waiting]
        return [*answered, *self._held.take_settled()]

    def _overdue(self) -> list[Opened]:
        """Results whose log did not come in time are counted without it, as are those whose log another engine took."""
        now_ms = self._parts.clock_ms()
        overdue = self._held.overdue(now_ms)
        if not is_postgres() or now_ms - self._looked_ms < _LOOK_EVERY_MS:
            return overdue
        self._looked_ms = now_ms
        known = {item.cid for item in overdue}
        return overdue + [item for item in self._held.come_elsewhere() if item.cid not in known]

    def _in_one_or_singly(self, opened: Sequence[Opened], overdue: Sequence[Opened]) -> list[Opened]:
        try:
            return self._handle(opened, overdue)
        except Exception as error:
            if database_is_away(error):
                raise
            logger.exception("batch failed; doing it singly", extra={"messages": len(opened) + len(overdue)})
        kept: list[Opened] = []
        for item in opened:
            kept += self._singly(item, lambda one: self._handle([one], []))
        for item in overdue:
            self._singly(item, lambda one: self._handle([], [one]))
        return kept

    def _singly(self, item: Opened, handle: Callable[[Opened], list[Opened]]) -> list[Opened]:
        try:
            return handle(item)
        except Exception as error:
            if database_is_away(error):
                raise
            logger.exception("message failed", extra={"spoke": item.spoke, "job": item.cid})
            self._door.refuse(item.delivery, _UNFORESEEN)
            self._held.settle(item)
            return []

    def _handle(self, opened: Sequence[Opened], overdue: Sequence[Opened]) -> list[Opened]:
        kept: list[Opened] = []
        try:
            with write_tx():
                for item in opened:
                    if item.received.kind not in _REPLIES:
                        self._other(item)
                kept = self._replies.take([item for item in opened if item.received.kind in _REPLIES])
                if overdue:
                    self._replies.take(overdue, waiting_allowed=False)
                crash_point("replies.taken")
        except BaseException:
            for item in opened:
                self._held.drop(item)
            raise
        for item in overdue:
            self._held.settle(item)
        return kept

    def _other(self, item: Opened) -> None:
        try:
            if item.received.kind is MessageType.HELLO:
                self._sessions.hello(item.received)
            elif item.received.kind is MessageType.ROTATE:
                self._sessions.announce(item.received)
            else:
                raise Refused(Code.ENV_TYPE, "it has no place in this queue")
        except Refused as refusal:
            self._door.refuse(item.delivery, refusal.code)

    def _log_batch(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """What is ahead of something that has not come goes round for a moment, unanswered, and is taken then."""
        former = self._early.frames
        opened = [*former, *self._door.open(deliveries)]
        if not opened:
            return deliveries
        early: list[Opened] = []
        try:
            early = self._logs.take(opened, may_wait=self._early.may_wait)
        except Exception as error:
            if database_is_away(error):
                raise
            if not isinstance(error, CursorMoved):
                logger.exception("batch of logs failed; doing it singly")
            self._logs_singly(opened)
        self._early.keep(early)
        waiting = {id(item.delivery) for item in early}
        return [one for one in (*(item.delivery for item in former), *deliveries) if id(one) not in waiting]

    def _logs_singly(self, opened: Sequence[Opened]) -> None:
        for item in sorted(opened, key=lambda item: (item.cid, item.received.header.idx)):
            try:
                self._logs.take([item])
            except Exception as error:
                if database_is_away(error):
                    raise
                logger.exception("log frame failed", extra={"spoke": item.spoke, "job": item.cid})
                self._door.refuse(item.delivery, _UNFORESEEN)

    def _beats(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        opened = self._door.open(self._carried.without_hints(deliveries))
        beats = [item for item in opened if item.received.kind is MessageType.HEARTBEAT]
        for item in opened:
            if item.received.kind is not MessageType.HEARTBEAT:
                self._door.refuse(item.delivery, Code.ENV_TYPE)
        try:
            self._beat_batch(beats)
        except Exception as error:
            if database_is_away(error):
                raise
            logger.exception("batch of beats failed; doing it singly")
            for item in beats:
                self._singly(item, self._one_beat)
        return deliveries

    def _beat_batch(self, beats: Sequence[Opened]) -> None:
        if not beats:
            return
        with write_tx():
            refused = self._sessions.beats([item.received for item in beats])
        by_mid = {item.received.header.mid: item.delivery for item in beats}
        for received, code in refused:
            delivery = by_mid[received.header.mid]
            if code is Code.ENV_REPLAY and delivery.redelivered:
                # It was counted; whoever had it went before the broker heard so.
                continue
            self._door.refuse(delivery, code)

    def _one_beat(self, item: Opened) -> list[Opened]:
        self._beat_batch([item])
        return []


def _cut_after_rotations(deliveries: Sequence[Delivery]) -> Iterator[Sequence[Delivery]]:
    """What follows the announcement of a key may be signed by it, so the announcement is believed first."""
    begun = 0
    for at, delivery in enumerate(deliveries, 1):
        if delivery.body[_TYPE_AT] == _ROTATE:
            yield deliveries[begun:at]
            begun = at
    if begun == 0 or begun < len(deliveries):
        yield deliveries[begun:]

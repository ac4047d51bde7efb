"""What happened goes out: event rows are made into CloudEvents, and those are sent until the broker has confirmed them.

    make (works without a broker)  ->  bind  ->  publish in order, confirmed  ->  move the cursor

At least once: what was sent and not noted goes out again, in the same bytes under the same id. It has its own thread,
holds a batch in memory and nothing more, and waits for the broker alone: the engine never waits for it.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from threading import Event as StopEvent
from typing import Any

from hub.api.strict_json import parse
from hub.broker.errors import BrokerError
from hub.errors import HubError
from hub.integration.broker_side import BrokerSide
from hub.integration.cloud_event import properties_of
from hub.integration.numbering import Origin, make_events
from hub.storage.database import connection, write_tx
from hub.storage.models import EventCursor, EventSource, IntegrationEvent
from wire.connection import Outgoing
from wire.crash import crash_point
from wire.errors import WireError
from wire.integration_topology import EVENTS, NOWHERE

logger = logging.getLogger(__name__)

LEASE = "integration events"
BATCH = 200
_IDLE_S = 0.5
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 15.0
# The connection itself gives up before that.
_CONFIRM_S = 60.0


def _nothing() -> None:
    """Where no other node could do it."""


@dataclass(frozen=True, slots=True)
class PublisherParts:
    """`origin`: of this moment, since the epoch changes with a restore. `mine` and `fence`: the lease named LEASE."""

    broker: BrokerSide
    origin: Callable[[], Origin]
    mine: Callable[[], bool] = lambda: True
    fence: Callable[[], None] = _nothing


class EventPublisher:
    """One thread's work; `run` is a loop of the engine's."""

    def __init__(self, parts: PublisherParts) -> None:
        self._parts = parts
        # Whether all that was made is published, as far as this node knows: then there is nothing to look up.
        self._is_even = False

    def run(self, stop: StopEvent) -> None:
        """Publish until told to stop; with the broker away it waits, and tries again."""
        pause_s = _FIRST_PAUSE_S
        try:
            while not stop.is_set():
                try:
                    busy = self._turn()
                    pause_s = _FIRST_PAUSE_S
                    if not busy:
                        stop.wait(_IDLE_S)
                except (BrokerError, WireError, HubError, TimeoutError, CancelledError) as error:
                    logger.warning("events for others wait", extra={"reason": str(error)[:200], "next_try_s": pause_s})
                    stop.wait(pause_s)
                    pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
        finally:
            self._parts.broker.close()

    def _turn(self) -> bool:
        with connection():
            if self._parts.mine():
                return self.work()
        self._is_even = False
        return False

    def work(self) -> bool:
        """One round; whether there was anything to do.

        Raises:
            BrokerError, WireError: the broker is away; what is made stays made.
        """
        made = make_events(self._parts.origin(), BATCH, self._parts.fence)
        broker = self._parts.broker
        if not broker.is_ready:
            broker.set_up()
        broker.sweep()
        if self._is_even and not made:
            return False
        self._is_even = False
        sent = sum(self._send(part) for part in self._parts_of(due_events(BATCH)))
        self._is_even = not sent
        return bool(made or sent)

    def _parts_of(self, rows: Sequence[Any]) -> Iterator[list[Any]]:
        """Runs of events; a word passes from one project to another between two of them, as the next is asked for."""
        part: list[Any] = []
        for row in rows:
            word = row.key.split(".")[1]
            if row.project is not None and word != NOWHERE and not self._parts.broker.owns(word, row.project):
                if part:
                    yield part
                    part = []
                self._parts.broker.hand_over(word, row.project)
            part.append(row)
        if part:
            yield part

    def _send(self, rows: Sequence[Any]) -> int:
        """Publish in order and note how far the broker has confirmed them."""
        link = self._parts.broker.connection
        assert link is not None
        futures = link.publish_many([_outgoing(row) for row in rows])
        confirmed = 0
        try:
            for future in futures:
                future.result(_CONFIRM_S)
                confirmed += 1
        finally:
            if confirmed:
                crash_point("events.confirmed")
                self._note(rows[confirmed - 1].seq)
        return confirmed

    def _note(self, seq: int) -> None:
        with write_tx():
            self._parts.fence()
            EventCursor.update(published=seq).where(EventCursor.id == 1, EventCursor.published < seq).execute()


def due_events(limit: int) -> list[Any]:
    """What the broker has not confirmed yet, oldest first; each with the `project` of its source."""
    published = EventCursor.select(EventCursor.published).where(EventCursor.id == 1)
    return list(
        IntegrationEvent.select(IntegrationEvent, EventSource.project)
        .join(EventSource, on=(EventSource.source == IntegrationEvent.source))
        .where(IntegrationEvent.seq > published)
        .order_by(IntegrationEvent.seq)
        .limit(limit)
        .objects()
    )


def _outgoing(row: Any) -> Outgoing:
    body = row.body.encode()
    attributes = parse(body)
    return Outgoing(
        exchange=EVENTS,
        key=row.key,
        body=body,
        message_id=str(attributes["id"]),
        # That nobody listens is no failure.
        mandatory=False,
        properties=properties_of(attributes, app_id=row.source.split("/")[2], at_ms=row.at),
    )

"""Consuming: deliveries wait in a bounded buffer until the caller pulls them; acknowledgements carry a generation.

A generation is one channel's life. Tags of a dead channel mean nothing: its acknowledgements are dropped, the broker
delivers again, and the receiver's journal knows the message. Prefetch bounds the buffer.

An acknowledgement may wait a moment and go out behind the next delivery: to wake the I/O thread for each costs more
than the frame. What a crash keeps from the broker in that moment comes again too.
"""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import pika
from pika import spec
from pika.channel import Channel

from wire.amqp.declare import declare
from wire.amqp.gathering import GatheringConnection
from wire.amqp.link import CONNECTED, REFUSED, Link, backoff_s
from wire.connection import Delivery, Properties
from wire.errors import WireError
from wire.topology import MAX_HEADERS, Topology

logger = logging.getLogger(__name__)

_ROUND_TOPIC_PERMISSIONS = {"CC", "BCC"}
# Another one consumes: its death is noticed within this, and a thousand queues do not ask at the same moment.
_TAKEN_AGAIN_S = (4.0, 9.0)
_ACK_WITHIN_S = 0.2


@dataclass(frozen=True, slots=True)
class Watch:
    """Who has no thread to spare for waiting is told on the I/O thread, and may only enqueue there.

    `arrived`: `take` has something. `consuming`: the queue is ours now (True), or not any more, or another one has it.
    """

    arrived: Callable[[], None]
    consuming: Callable[[bool], None]


_UNWATCHED = Watch(lambda: None, lambda _consuming: None)


class Consumer:
    """All subscriptions of one party, a channel each, on one link."""

    def __init__(self, *, topology: Topology | None) -> None:
        self._topology = topology
        self._link: Link | None = None
        self._lock = threading.Lock()
        self._subscriptions: list[AmqpSubscription] = []
        # Of the I/O thread alone.
        self._connection: GatheringConnection | None = None

    def attach(self, link: Link) -> None:
        self._link = link

    def subscribe(self, queue: str, *, prefetch: int, exclusive: bool, watch: Watch | None) -> "AmqpSubscription":
        assert self._link is not None
        subscription = AmqpSubscription(
            self._link, queue, prefetch, exclusive=exclusive, topology=self._topology, watch=watch
        )
        with self._lock:
            self._subscriptions = [known for known in self._subscriptions if not known.closed] + [subscription]
        self._link.call(partial(self._open, subscription))
        return subscription

    def close(self) -> None:
        for subscription in self._all():
            subscription.close()

    # The I/O thread

    def up(self, connection: GatheringConnection) -> None:
        self._connection = connection
        assert self._link is not None
        self._link.set_state(CONNECTED)
        for subscription in self._all():
            subscription.open_on(connection)

    def down(self, reason: WireError) -> None:
        self._connection = None
        for subscription in self._all():
            subscription.lost(str(reason))

    def tick(self) -> None:
        """Nothing here has a deadline."""

    def _open(self, subscription: "AmqpSubscription") -> None:
        if self._connection is not None and self._connection.is_open:
            subscription.open_on(self._connection)

    def _all(self) -> "list[AmqpSubscription]":
        with self._lock:
            return list(self._subscriptions)


class AmqpSubscription:
    """One queue, one channel at a time."""

    def __init__(
        self,
        link: Link,
        queue: str,
        prefetch: int,
        *,
        exclusive: bool,
        topology: Topology | None,
        watch: Watch | None = None,
    ) -> None:
        self.queue = queue
        self.closed = False
        self._link = link
        self._prefetch = prefetch
        self._exclusive = exclusive
        self._topology = topology
        self._watched = watch is not None
        self._watch = watch or _UNWATCHED
        self._arrived = threading.Condition()
        self._buffer: deque[Delivery] = deque()
        self._generation = 0
        self._answers: deque[tuple[int, tuple[int, ...], bool | None]] = deque()
        self._awake = False
        # Whether the I/O thread will look for answers by itself, soon.
        self._will_look = False
        # Of whoever has the turn; how many are unanswered is for anybody to see.
        self._channel: Channel | None = None
        self._opening = False
        self._unanswered: dict[int, None] = {}
        self._failures = 0

    def take(self, limit: int, wait_s: float) -> list[Delivery]:
        deadline = time.monotonic() + wait_s
        with self._arrived:
            while not self._buffer and not self.closed:
                if not self._arrived.wait(max(deadline - time.monotonic(), 0)):
                    return []
            return [self._buffer.popleft() for _ in range(min(limit, len(self._buffer)))]

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        by_generation: dict[int, list[int]] = {}
        for delivery in deliveries:
            by_generation.setdefault(delivery.generation, []).append(delivery.tag)
        for generation, tags in by_generation.items():
            self._answer(generation, tuple(tags), None)

    def reject(self, delivery: Delivery, *, requeue: bool = False) -> None:
        self._answer(delivery.generation, (delivery.tag,), requeue)

    def close(self) -> None:
        with self._arrived:
            self.closed = True
            # The broker gives what lies here to the next consumer, which may be ourselves.
            self._buffer.clear()
            self._arrived.notify_all()
        self._link.call(self._close_channel)

    def _answer(self, generation: int, tags: tuple[int, ...], requeue: bool | None) -> None:
        """`requeue` None is an ack, which may wait while more can come. Many answers make one wake-up."""
        with self._arrived:
            if generation != self._generation:
                return
            self._answers.append((generation, tags, requeue))
            if requeue is None and self._will_look and len(self._unanswered) < self._prefetch // 2:
                return
            wake, self._awake = not self._awake, True
        if wake and not self._link.at_once(self._send_answers):
            self._awake = False

    # The I/O thread

    def open_on(self, connection: GatheringConnection) -> None:
        if not self.closed and connection.is_open and not self._opening:
            self._opening = True
            connection.channel(on_open_callback=self._on_channel)

    def lost(self, reason: str) -> None:
        """What lies in the buffer comes again on the next channel; taken twice it would be worked on twice."""
        with self._arrived:
            self._generation += 1
            self._buffer.clear()
            self._answers.clear()
            self._awake = self._will_look = False
        self._channel = None
        self._opening = False
        self._unanswered.clear()
        self._watch.consuming(False)
        logger.debug("subscription lost", extra={"queue": self.queue, "reason": reason})

    def _on_channel(self, channel: Channel) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._on_channel_closed)
        channel.add_on_cancel_callback(lambda _frame: channel.close())
        if self._topology is not None:
            declare(channel, self._topology)
        channel.basic_qos(prefetch_count=self._prefetch, callback=lambda _frame: self._consume(channel))

    def _consume(self, channel: Channel) -> None:
        channel.basic_consume(
            self.queue, self._on_message, exclusive=self._exclusive, callback=lambda _frame: self._on_consuming()
        )

    def _on_consuming(self) -> None:
        self._failures = 0
        self._link.set_state(CONNECTED)
        self._watch.consuming(True)

    def _on_channel_closed(self, channel: Channel, reason: Exception) -> None:
        """No queue yet (404), somebody else's (403), an ack too late (406), or the queue was deleted: come again."""
        self.lost(str(reason))
        if self.closed or not channel.connection.is_open:
            return
        self._failures += 1
        delay_s = backoff_s(self._failures)
        if self._watched:
            # Of a thousand queues, some always are another's: that says nothing of the connection.
            delay_s = random.uniform(*_TAKEN_AGAIN_S)  # noqa: S311  Jitter.
            logger.debug("queue not ours for now", extra={"queue": self.queue, "reason": str(reason)})
        else:
            if getattr(reason, "reply_code", 0) in {403, 404}:
                self._link.set_state(f"{REFUSED}: {reason}")
            logger.warning("broker closed the channel of a queue", extra={"queue": self.queue, "reason": str(reason)})
        self._link.later(delay_s, partial(self.open_on, channel.connection))

    def _on_message(
        self, _channel: Channel, method: spec.Basic.Deliver, properties: pika.BasicProperties, body: bytes
    ) -> None:
        headers = properties.headers or {}
        delivery = Delivery(
            body=body,
            exchange=method.exchange,
            key=method.routing_key,
            message_id=properties.message_id or "",
            user_id=properties.user_id or "",
            redelivered=bool(method.redelivered),
            suspicious=len(headers) > MAX_HEADERS or not _ROUND_TOPIC_PERMISSIONS.isdisjoint(headers),
            tag=method.delivery_tag,
            generation=self._generation,
            properties=_said(properties) if properties.content_type else None,
        )
        self._unanswered[delivery.tag] = None
        with self._arrived:
            if self.closed:
                return
            self._buffer.append(delivery)
            look_later, self._will_look = not self._will_look, True
            self._arrived.notify()
        self._watch.arrived()
        if look_later:
            self._link.later(_ACK_WITHIN_S, partial(self._look, delivery.generation))
        elif self._answers:
            self._send_answers()

    def _look(self, generation: int) -> None:
        """For answers that nobody woke us for; in another channel's life somebody else looks."""
        with self._arrived:
            if generation != self._generation:
                return
            self._will_look = False
        self._send_answers()

    def _send_answers(self) -> None:
        with self._arrived:
            self._awake = False
            answers = list(self._answers)
            self._answers.clear()
        channel = self._channel
        if channel is None or not channel.is_open:
            return
        acked: dict[int, None] = {}
        for generation, tags, requeue in answers:
            if generation != self._generation:
                continue
            if requeue is None:
                acked |= dict.fromkeys(tag for tag in tags if tag in self._unanswered)
            elif self._unanswered.pop(tags[0], 0) is None:
                channel.basic_reject(tags[0], requeue=requeue)
        self._send_acks(channel, acked)

    def _send_acks(self, channel: Channel, acked: dict[int, None]) -> None:
        """One frame for the unbroken run at the front, one for each of the rest."""
        run = 0
        for tag in self._unanswered:
            if tag not in acked:
                break
            run = tag
        if run:
            channel.basic_ack(run, multiple=True)
        for tag in acked:
            if tag > run:
                channel.basic_ack(tag)
            del self._unanswered[tag]

    def _close_channel(self) -> None:
        if self._channel is not None and self._channel.is_open:
            self._send_answers()
            self._channel.close()


def _said(properties: pika.BasicProperties) -> Properties:
    texts = {name: str(value) for name, value in (properties.headers or {}).items() if isinstance(value, str | int)}
    return Properties(
        content_type=properties.content_type or "",
        type=properties.type or "",
        app_id=properties.app_id or "",
        correlation_id=properties.correlation_id or "",
        reply_to=properties.reply_to or "",
        timestamp_s=properties.timestamp or 0,
        headers=texts,
    )

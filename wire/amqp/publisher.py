"""Publishing from any thread: futures, a window of a thousand confirms, one wake-up for many messages.

What was sent and not confirmed when the connection ends fails as ConnectionLost; nothing is ever sent twice here, that
is the outbox's decision. What was not sent yet waits for the next connection until its time is up.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from functools import partial

import pika
from pika import spec
from pika.channel import Channel

from wire.amqp.declare import declare
from wire.amqp.gathering import GatheringConnection
from wire.amqp.link import BLOCKED, CONNECTED, CONNECTING, REFUSED, Link
from wire.connection import Outgoing, Properties
from wire.errors import BrokerRefused, ConnectionLost, Nacked, Unroutable, WireError
from wire.topology import MAX_MESSAGE_BYTES, Topology

logger = logging.getLogger(__name__)

# The broker answers a thousand in one go; more in flight gains nothing (reference: 15,300/s at 1,000).
WINDOW = 1_000
WINDOW_BYTES = 16 * 1024 * 1024
# What may wait in memory while the broker is away or blocked.
QUEUE = 10_000
QUEUE_BYTES = 64 * 1024 * 1024
_REOPEN_S = 0.5
_PERSISTENT, _TRANSIENT = 2, 1


@dataclass(slots=True)
class _Entry:
    """One message on its way; its body is dropped when pika has it."""

    message: Outgoing | None
    message_id: str
    exchange: str
    key: str
    size: int
    done: "Future[None]"
    deadline: float
    returned: str = ""


class Publisher:
    """Lives on its own link, so that a blocked publisher stops no consumer."""

    def __init__(self, *, timeout_s: float, topology: Topology | None) -> None:
        self._timeout_s = timeout_s
        self._topology = topology
        self._link: Link | None = None
        self._channel: Channel | None = None
        self._connection: GatheringConnection | None = None
        self._room = threading.Condition()
        self._waiting: deque[_Entry] = deque()
        self._waiting_bytes = 0
        self._awake = False
        self._closed = False
        # Of whoever has the turn: by delivery tag, in the order of publishing.
        self._unconfirmed: dict[int, _Entry] = {}
        self._unconfirmed_bytes = 0
        self._next_tag = 1
        self._blocked = False

    def attach(self, link: Link) -> None:
        self._link = link

    def publish(self, message: Outgoing) -> "Future[None]":
        return self.publish_many((message,))[0]

    def publish_many(self, messages: Sequence[Outgoing]) -> "list[Future[None]]":
        entries = [self._entry(message) for message in messages]
        with self._room:
            for entry in entries:
                self._enqueue(entry)
            wake = bool(self._waiting) and not self._awake
            self._awake = self._awake or wake
        if wake:
            self._wake()
        return [entry.done for entry in entries]

    def close(self) -> None:
        """No more; what waits or is unconfirmed fails when the link goes down."""
        with self._room:
            self._closed = True
            self._room.notify_all()

    # Callers' threads

    def _entry(self, message: Outgoing) -> _Entry:
        return _Entry(
            message=message,
            message_id=message.message_id or os.urandom(16).hex(),
            exchange=message.exchange,
            key=message.key,
            size=len(message.body),
            done=Future(),
            deadline=time.monotonic() + self._timeout_s,
        )

    def _enqueue(self, entry: _Entry) -> None:
        if entry.size > MAX_MESSAGE_BYTES:
            # The broker would close the channel, and with it lose the confirms of honest messages.
            entry.done.set_exception(Nacked(f"a message of {entry.size} bytes is over {MAX_MESSAGE_BYTES}"))
            return
        if not self._has_room(entry) and not (self._link is not None and self._link.is_own_thread):
            self._wake()
            self._room.wait_for(lambda: self._has_room(entry) or self._closed, entry.deadline - time.monotonic())
        if self._closed:
            entry.done.set_exception(ConnectionLost("the connection is closed"))
        elif not self._has_room(entry):
            entry.done.set_exception(self._why_late())
        else:
            self._waiting.append(entry)
            self._waiting_bytes += entry.size

    def _has_room(self, entry: _Entry) -> bool:
        return len(self._waiting) < QUEUE and self._waiting_bytes + entry.size <= QUEUE_BYTES

    def _wake(self) -> None:
        # Between two connections there is nothing to wake: the next one drains when it is up.
        if self._link is None or not self._link.at_once(self._drain):
            self._awake = False

    # The I/O thread: the link's life

    def up(self, connection: GatheringConnection) -> None:
        self._blocked = False
        self._connection = connection
        connection.add_on_connection_blocked_callback(partial(self._on_blocked, blocked=True))
        connection.add_on_connection_unblocked_callback(partial(self._on_blocked, blocked=False))
        connection.channel(on_open_callback=self._on_channel)

    def down(self, reason: WireError) -> None:
        self._channel = None
        self._fail_unconfirmed(_as_lost(reason))
        if self._closed or (self._link is not None and self._link.closing):
            self._fail_waiting(reason)

    def tick(self) -> None:
        """Those whose time is up, oldest first."""
        now = time.monotonic()
        with self._room:
            late: list[_Entry] = []
            while self._waiting and self._waiting[0].deadline <= now:
                late.append(self._popped())
            if late:
                self._room.notify_all()
        for entry in late:
            _fail(entry, self._why_late())

    def _on_channel(self, channel: Channel) -> None:
        channel.add_on_close_callback(self._on_channel_closed)
        channel.add_on_return_callback(self._on_return)
        self._next_tag = 1
        if self._topology is not None:
            declare(channel, self._topology)
        # pika sends these one after another, so its answer means that all before it was answered.
        channel.confirm_delivery(self._on_confirm, callback=lambda _frame: self._on_ready(channel))

    def _on_ready(self, channel: Channel) -> None:
        self._channel = channel
        self._tell_state()
        self._drain()

    def _on_channel_closed(self, channel: Channel, reason: Exception) -> None:
        """The broker closes a channel for one bad message, silently for pika's own users: notice, fail, open anew."""
        self._channel = None
        code = getattr(reason, "reply_code", 0)
        assert self._link is not None
        if not channel.connection.is_open or self._link.closing:
            return
        refused = BrokerRefused(self._link.address.user, self._link.address.vhost, str(reason))
        self._link.set_state(f"{REFUSED}: {reason}" if code in {403, 404, 406} else CONNECTING)
        logger.warning("broker closed the publishing channel", extra={"reason": str(reason)})
        # With one message in flight it is known which one was refused; with several, nobody knows.
        self._fail_unconfirmed(refused if len(self._unconfirmed) == 1 else ConnectionLost(str(reason)))
        self._link.later(_REOPEN_S, partial(self._reopen, channel.connection))

    def _reopen(self, connection: GatheringConnection) -> None:
        if connection.is_open:
            connection.channel(on_open_callback=self._on_channel)

    def _on_blocked(self, _connection: object, _frame: object, *, blocked: bool) -> None:
        self._blocked = blocked
        logger.warning("broker blocks publishers" if blocked else "broker takes messages again")
        self._tell_state()
        if not blocked:
            self._drain()

    def _tell_state(self) -> None:
        if self._link is not None and self._channel is not None:
            self._link.set_state(BLOCKED if self._blocked else CONNECTED)

    # The I/O thread, or whoever has its turn: messages

    def _drain(self) -> None:
        """Send what the window has room for; runs after each wake-up and each confirm."""
        with self._room:
            self._awake = False
            entries = self._next_entries()
            if entries:
                self._room.notify_all()
        if not entries:
            return
        assert self._connection is not None
        with self._connection.gathering():
            for entry in entries:
                self._send(entry)

    def _next_entries(self) -> list[_Entry]:
        if self._channel is None or not self._channel.is_open or self._blocked:
            return []
        entries: list[_Entry] = []
        size = self._unconfirmed_bytes
        while self._waiting and len(self._unconfirmed) + len(entries) < WINDOW and size < WINDOW_BYTES:
            entries.append(self._popped())
            size += entries[-1].size
        return entries

    def _popped(self) -> _Entry:
        entry = self._waiting.popleft()
        self._waiting_bytes -= entry.size
        return entry

    def _send(self, entry: _Entry) -> None:
        message, entry.message = entry.message, None
        if self._channel is None or message is None or not self._channel.is_open:
            _fail(entry, ConnectionLost("the channel was closed before the message was sent"))
            return
        self._unconfirmed[self._next_tag] = entry
        self._unconfirmed_bytes += entry.size
        self._next_tag += 1
        assert self._link is not None
        properties = pika.BasicProperties(
            message_id=entry.message_id,
            user_id=self._link.address.user,
            delivery_mode=_PERSISTENT if message.persistent else _TRANSIENT,
            expiration=None if message.expiration_ms is None else str(max(message.expiration_ms, 0)),
        )
        if message.properties is not None:
            _say(properties, message.properties)
        self._channel.basic_publish(message.exchange, message.key, message.body, properties, message.mandatory)

    def _on_return(
        self, _channel: Channel, method: spec.Basic.Return, properties: pika.BasicProperties, _body: bytes
    ) -> None:
        """The return comes before the confirm of the same message, so only the oldest of its id can be meant."""
        for entry in self._unconfirmed.values():
            if (entry.message_id, entry.exchange, entry.key, entry.returned) == (
                properties.message_id,
                method.exchange,
                method.routing_key,
                "",
            ):
                entry.returned = f"{method.reply_code} {method.reply_text}"
                return

    def _on_confirm(self, frame: pika.frame.Method) -> None:
        method = frame.method
        taken = isinstance(method, spec.Basic.Ack)
        if method.multiple:
            tags = [tag for tag in self._unconfirmed if tag <= method.delivery_tag]
        else:
            tags = [method.delivery_tag]
        entries = [entry for tag in tags if (entry := self._unconfirmed.pop(tag, None)) is not None]
        self._unconfirmed_bytes -= sum(entry.size for entry in entries)
        # The next ones first: the broker works while the callers of the last ones wake.
        self._drain()
        for entry in entries:
            _settle(entry, taken=taken)

    def _fail_unconfirmed(self, reason: WireError) -> None:
        entries = list(self._unconfirmed.values())
        self._unconfirmed.clear()
        self._unconfirmed_bytes = 0
        for entry in entries:
            _fail(entry, reason)

    def _fail_waiting(self, reason: WireError) -> None:
        with self._room:
            entries = list(self._waiting)
            self._waiting.clear()
            self._waiting_bytes = 0
            self._room.notify_all()
        for entry in entries:
            _fail(entry, reason)

    def _why_late(self) -> WireError:
        if self._blocked:
            return Nacked("broker blocked")
        state = self._link.state if self._link is not None else CONNECTING
        if state == CONNECTED:
            return Nacked(f"the queue to the broker stayed full for {self._timeout_s:g} s")
        if state.startswith(REFUSED) and self._link is not None:
            return BrokerRefused(self._link.address.user, self._link.address.vhost, state)
        return ConnectionLost(f"no connection to the broker for {self._timeout_s:g} s ({state})")


def _say(properties: pika.BasicProperties, said: Properties) -> None:
    properties.content_type = said.content_type or None
    properties.type = said.type or None
    properties.app_id = said.app_id or None
    properties.correlation_id = said.correlation_id or None
    properties.reply_to = said.reply_to or None
    properties.timestamp = said.timestamp_s or None
    properties.headers = dict(said.headers) or None


def _settle(entry: _Entry, *, taken: bool) -> None:
    if entry.returned:
        _fail(entry, Unroutable(f"no queue for key {entry.key!r} of exchange {entry.exchange!r}: {entry.returned}"))
    elif not taken:
        _fail(entry, Nacked(f"the broker did not take the message for key {entry.key!r}: a queue is full"))
    else:
        try:
            entry.done.set_result(None)
        except InvalidStateError:
            logger.debug("a caller had given up", extra={"message_id": entry.message_id})


def _fail(entry: _Entry, reason: WireError) -> None:
    try:
        entry.done.set_exception(reason)
    except InvalidStateError:
        logger.debug("a caller had given up", extra={"message_id": entry.message_id})


def _as_lost(reason: WireError) -> WireError:
    """Sent and unconfirmed means that nobody knows, whatever ended the connection."""
    return reason if isinstance(reason, ConnectionLost) else ConnectionLost(str(reason))

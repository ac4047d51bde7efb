"""A spoke's mailbox: frames come out of its queue, frames go to the hub; whatever carries them is a `Connection`."""

from collections.abc import Sequence
from concurrent.futures import Future

from wire.connection import Connection, Delivery, Outgoing
from wire.envelope import MessageType
from wire.session import Sealed
from wire.topology import EVENTS, EventKind, event_key, spoke_queue

_PREFETCH = 64
_EVENTS = {
    MessageType.HELLO: EventKind.HELLO,
    MessageType.ACK: EventKind.ACK,
    MessageType.RESULT: EventKind.RESULT,
    MessageType.REJECT: EventKind.REJECT,
    MessageType.ROTATE: EventKind.ROTATE,
    MessageType.LOG: EventKind.LOG,
    MessageType.HEARTBEAT: EventKind.BEAT,
}


class Mailbox:
    """Sent to by any thread, emptied by one."""

    def __init__(self, connection: Connection, spoke_id: str) -> None:
        self._connection = connection
        self._spoke_id = spoke_id
        self._subscription = connection.consume(spoke_queue(spoke_id), prefetch=_PREFETCH, exclusive=True)

    def take(self, limit: int, wait_s: float) -> list[Delivery]:
        return self._subscription.take(limit, wait_s)

    def done(self, deliveries: Sequence[Delivery]) -> None:
        """They are safe in the journal, or worth nothing."""
        self._subscription.ack(deliveries)

    def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """They could not be made safe; they come again."""
        for delivery in deliveries:
            self._subscription.reject(delivery, requeue=True)

    def send(self, kind: MessageType, sealed: Sealed) -> "Future[None]":
        """Done when the broker has it safe; a heartbeat is worth nothing later, so nobody keeps it."""
        fleeting = kind is MessageType.HEARTBEAT
        return self._connection.publish(
            Outgoing(
                exchange=EVENTS,
                key=event_key(self._spoke_id, _EVENTS[kind]),
                body=sealed.frame,
                message_id=sealed.mid,
                persistent=not fleeting,
                mandatory=not fleeting,
            )
        )

    def close(self) -> None:
        self._subscription.close()

"""AmqpConnection: the contract of wire/connection.py over RabbitMQ."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future

from wire.amqp.consumer import Consumer, Watch
from wire.amqp.link import BLOCKED, CONNECTED, REFUSED, Address, Link
from wire.amqp.publisher import Publisher
from wire.connection import Outgoing, Subscription
from wire.tls import TlsContext
from wire.topology import Topology


class AmqpConnection:
    """Publishes and consumes on two connections, each with its I/O thread; returns at once and connects for ever.

    Not to be used after fork. Callbacks on the futures run on an I/O thread, so they may only enqueue.

    Args:
        url: `amqp://user:password@host:port/vhost`; amqps without `tls` checks the name by the system's CAs.
        name: Shown in the broker's list of connections.
        tls: A context of `wire/tls`, which pins the broker's key before a credential is sent.
        heartbeat_s: Half-open connections are noticed after about twice this.
        declare: What must stand on the broker, declared at each connect.
        publish_timeout_s: How long a message waits for a connection, or a caller for room.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        tls: TlsContext | None = None,
        heartbeat_s: int = 30,
        declare: Topology | None = None,
        publish_timeout_s: float = 30.0,
    ) -> None:
        address = Address.parse(url)
        self._publisher = Publisher(timeout_s=publish_timeout_s, topology=declare)
        self._outward = Link(address, self._publisher, name=f"{name} out", tls=tls, heartbeat_s=heartbeat_s)
        self._publisher.attach(self._outward)
        self._consumer = Consumer(topology=declare)
        self._inward = Link(address, self._consumer, name=f"{name} in", tls=tls, heartbeat_s=heartbeat_s)
        self._consumer.attach(self._inward)
        self._lock = threading.Lock()
        self._consuming = False
        self._closed = False
        self._outward.start()

    def publish(self, message: Outgoing) -> "Future[None]":
        return self._publisher.publish(message)

    def publish_many(self, messages: Sequence[Outgoing]) -> "list[Future[None]]":
        return self._publisher.publish_many(messages)

    def consume(
        self, queue: str, *, prefetch: int, exclusive: bool = False, watch: Watch | None = None
    ) -> Subscription:
        """As the contract; who has many queues and one loop is told by `watch` when to take."""
        subscription = self._consumer.subscribe(queue, prefetch=prefetch, exclusive=exclusive, watch=watch)
        with self._lock:
            if not self._consuming and not self._closed:
                self._consuming = True
                self._inward.start()
        return subscription

    @property
    def state(self) -> str:
        """connected, connecting, blocked, closed, or `refused: why`; the worse of the two sides."""
        states = [self._outward.state, *([self._inward.state] if self._consuming else [])]
        worst = [state for state in states if state.startswith(REFUSED)] or [s for s in states if s != CONNECTED]
        return worst[0] if worst else CONNECTED

    def wait_connected(self, timeout_s: float) -> bool:
        """Whether it could publish (and consume, if it does) within that time; a blocked broker counts as connected."""
        deadline = time.monotonic() + timeout_s
        sides = [self._outward, *([self._inward] if self._consuming else [])]
        return all(side.wait_state({CONNECTED, BLOCKED}, deadline - time.monotonic()) for side in sides)

    def close(self) -> None:
        """End both sides; open futures fail with ConnectionLost, unanswered deliveries go back."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._publisher.close()
        self._consumer.close()
        self._outward.close()
        if self._consuming:
            self._inward.close()

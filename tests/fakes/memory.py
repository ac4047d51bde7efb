"""A broker in memory with the contract of wire/connection.py: our exchanges, confirms, acknowledgements, redelivery.

    broker = MemoryBroker(); broker.declare(spoke_topology(spoke_id))
    hub = MemoryConnection(broker, "hub"); spoke = MemoryConnection(broker, spoke_user(spoke_id))

It refuses what the real one refuses (a key under another's name, another's queue), drops nothing, and can be told to
break: `connection.lose()`, `broker.block()`, `broker.down = True`.
"""

import re
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from wire import topology
from wire.connection import Delivery, Outgoing, Subscription
from wire.errors import BrokerRefused, ConnectionLost, Nacked, Unroutable
from wire.topology import Permissions, Topology

MAX_QUEUE = 10_000


@dataclass(slots=True)
class _Queue:
    waiting: deque[Delivery] = field(default_factory=deque)
    consumers: list["MemorySubscription"] = field(default_factory=list)
    ordered: bool = False


class MemoryBroker:
    """Exchanges, queues and bindings of the topologies it was given; shared by any number of threads."""

    def __init__(self, *, max_queue: int = MAX_QUEUE) -> None:
        self.down = False
        self.max_queue = max_queue
        self.published: list[Outgoing] = []
        self.changed = threading.Condition()
        self._kinds: dict[str, str] = {}
        self._queues: dict[str, _Queue] = {}
        self._bindings: list[topology.Binding] = []
        self._permissions: dict[str, Permissions] = {
            topology.HUB_USER: topology.hub_permissions(),
            topology.PORTAL_USER: topology.portal_permissions(),
        }
        self._blocked = False
        self._tag = 0
        self.declare(topology.hub_topology())

    def declare(self, part: Topology) -> None:
        with self.changed:
            self._kinds |= {exchange.name: exchange.kind for exchange in part.exchanges}
            for queue in part.queues:
                self._queues.setdefault(queue.name, _Queue(ordered=queue.ordered))
            self._bindings += [binding for binding in part.bindings if binding not in self._bindings]

    def add_spoke(self, spoke_id: str) -> str:
        """Its mailbox and its rights; answers its user name."""
        return self.add_tenant(topology.spoke_tenant(spoke_id))

    def add_tenant(self, tenant: topology.Tenant) -> str:
        self.declare(tenant.topology)
        if tenant.permissions is not None:
            self._permissions[tenant.user] = tenant.permissions
        return tenant.user

    def remove_queue(self, name: str) -> None:
        with self.changed:
            self._queues.pop(name, None)
            self._bindings = [binding for binding in self._bindings if binding.queue != name]
            self.changed.notify_all()

    def depth(self, queue: str) -> int:
        """Messages that wait, those delivered and unanswered not counted."""
        with self.changed:
            return len(self._queues[queue].waiting)

    def block(self, blocked: bool = True) -> None:
        """As under a memory or disk alarm: publishes stay unconfirmed."""
        with self.changed:
            self._blocked = blocked
            self.changed.notify_all()

    def route(self, message: Outgoing, user: str, *, suspicious: bool = False) -> None:
        """Put it into every queue that its key reaches.

        Raises:
            ConnectionLost, BrokerRefused, Unroutable, Nacked: as the real one answers.
        """
        with self.changed:
            self._must_be_up()
            self._may_publish(message, user)
            if len(message.body) > topology.MAX_MESSAGE_BYTES:
                raise Nacked(f"a message of {len(message.body)} bytes is over {topology.MAX_MESSAGE_BYTES}")
            names = self._reached(message)
            if not names and message.mandatory:
                raise Unroutable(f"no queue for key {message.key!r} of exchange {message.exchange!r}")
            if any(len(self._queues[name].waiting) >= self.max_queue for name in names):
                raise Nacked(f"a queue for key {message.key!r} is full")
            self.published.append(message)
            for name in names:
                self._tag += 1
                self._queues[name].waiting.append(
                    Delivery(
                        body=bytes(message.body),
                        exchange=message.exchange,
                        key=message.key,
                        message_id=message.message_id,
                        user_id=user,
                        redelivered=False,
                        suspicious=suspicious,
                        tag=self._tag,
                        generation=0,
                    )
                )
            self.changed.notify_all()

    def wait_unblocked(self, timeout_s: float) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: not self._blocked, timeout_s)

    # What a subscription does under the broker's lock

    def attach(self, queue: str, subscription: "MemorySubscription", *, exclusive: bool, user: str) -> None:
        with self.changed:
            self._must_be_up()
            if not re.search(self._rights(user).read, queue):
                raise BrokerRefused(user, topology.VHOST, f"access to queue {queue!r} refused for user {user!r}")
            known = self._queues.get(queue)
            if known is None:
                raise BrokerRefused(user, topology.VHOST, f"no queue {queue!r}")
            if known.consumers and (exclusive or any(other.exclusive for other in known.consumers)):
                raise BrokerRefused(user, topology.VHOST, f"queue {queue!r} in exclusive use")
            known.consumers.append(subscription)

    def detach(self, queue: str, subscription: "MemorySubscription", unanswered: Sequence[Delivery]) -> None:
        """What was delivered and not answered goes back to the front, marked."""
        with self.changed:
            known = self._queues.get(queue)
            if known is not None:
                known.consumers = [other for other in known.consumers if other is not subscription]
                known.waiting.extendleft(replace(delivery, redelivered=True) for delivery in reversed(unanswered))
            self.changed.notify_all()

    def pop(self, queue: str, subscription: "MemorySubscription", limit: int) -> list[Delivery]:
        known = self._queues.get(queue)
        if known is None or self.down or (known.ordered and known.consumers[:1] != [subscription]):
            return []
        return [known.waiting.popleft() for _ in range(min(limit, len(known.waiting)))]

    def requeue(self, queue: str, delivery: Delivery) -> None:
        with self.changed:
            if queue in self._queues:
                self._queues[queue].waiting.appendleft(replace(delivery, redelivered=True))
            self.changed.notify_all()

    def dead_letter(self, delivery: Delivery) -> None:
        self.route(Outgoing(topology.DEAD, delivery.key, delivery.body, delivery.message_id), topology.HUB_USER)

    def _must_be_up(self) -> None:
        if self.down:
            raise ConnectionLost("the broker is down")

    def _rights(self, user: str) -> Permissions:
        try:
            return self._permissions[user]
        except KeyError:
            raise BrokerRefused(user, topology.VHOST, f"user {user!r} is unknown") from None

    def _may_publish(self, message: Outgoing, user: str) -> None:
        rights = self._rights(user)
        if not re.search(rights.write, message.exchange):
            raise BrokerRefused(
                user, topology.VHOST, f"access to exchange {message.exchange!r} refused for user {user!r}"
            )
        if message.exchange == topology.EVENTS and rights.topic_write is not None:
            rule = rights.topic_write.replace("{username}", re.escape(user))
            if not re.search(rule, message.key):
                raise BrokerRefused(user, topology.VHOST, f"access to topic {message.key!r} refused for user {user!r}")

    def _reached(self, message: Outgoing) -> list[str]:
        topic = self._kinds.get(message.exchange) == "topic"
        return list(
            dict.fromkeys(
                binding.queue
                for binding in self._bindings
                if binding.exchange == message.exchange
                and (topic_matches(binding.key, message.key) if topic else binding.key == message.key)
            )
        )


class MemoryConnection:
    """One party's connection, as its broker user."""

    def __init__(self, broker: MemoryBroker, user: str, *, blocked_wait_s: float = 1.0) -> None:
        self._broker = broker
        self._user = user
        self._blocked_wait_s = blocked_wait_s
        self._subscriptions: list[MemorySubscription] = []
        self._closed = False

    def publish(self, message: Outgoing) -> "Future[None]":
        done: Future[None] = Future()
        try:
            if self._closed:
                raise ConnectionLost("the connection is closed")
            if not self._broker.wait_unblocked(self._blocked_wait_s):
                raise Nacked("broker blocked")
            self._broker.route(message, self._user)
        except (ConnectionLost, Nacked, Unroutable, BrokerRefused) as error:
            done.set_exception(error)
        else:
            done.set_result(None)
        return done

    def publish_many(self, messages: Sequence[Outgoing]) -> "list[Future[None]]":
        return [self.publish(message) for message in messages]

    def consume(self, queue: str, *, prefetch: int, exclusive: bool = False) -> Subscription:
        subscription = MemorySubscription(self._broker, queue, prefetch, exclusive=exclusive)
        self._broker.attach(queue, subscription, exclusive=exclusive, user=self._user)
        self._subscriptions.append(subscription)
        return subscription

    def lose(self) -> None:
        """As when the socket breaks: a new generation, and what was unanswered is delivered again."""
        for subscription in self._subscriptions:
            subscription.lose()

    def close(self) -> None:
        self._closed = True
        for subscription in self._subscriptions:
            subscription.close()


class MemorySubscription:
    """The pull side of one queue."""

    def __init__(self, broker: MemoryBroker, queue: str, prefetch: int, *, exclusive: bool) -> None:
        self.exclusive = exclusive
        self._broker = broker
        self._queue = queue
        self._prefetch = prefetch
        self._generation = 1
        self._unanswered: dict[int, Delivery] = {}
        self._closed = False

    def take(self, limit: int, wait_s: float) -> list[Delivery]:
        deadline = time.monotonic() + wait_s
        with self._broker.changed:
            while True:
                if self._closed:
                    return []
                room = min(limit, self._prefetch - len(self._unanswered))
                popped = self._broker.pop(self._queue, self, max(room, 0))
                if popped:
                    taken = [replace(delivery, generation=self._generation) for delivery in popped]
                    self._unanswered |= {delivery.tag: delivery for delivery in taken}
                    return taken
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    return []
                self._broker.changed.wait(left_s)

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        with self._broker.changed:
            for delivery in deliveries:
                self._answered(delivery)
            self._broker.changed.notify_all()

    def reject(self, delivery: Delivery, *, requeue: bool = False) -> None:
        with self._broker.changed:
            if not self._answered(delivery):
                return
            if requeue:
                self._broker.requeue(self._queue, delivery)
            else:
                self._broker.dead_letter(delivery)

    def lose(self) -> None:
        with self._broker.changed:
            self._broker.detach(self._queue, self, list(self._unanswered.values()))
            self._generation += 1
            self._unanswered.clear()
            if not self._closed and self._queue in self._broker._queues:
                self._broker._queues[self._queue].consumers.append(self)

    def close(self) -> None:
        with self._broker.changed:
            if not self._closed:
                self._closed = True
                self._broker.detach(self._queue, self, list(self._unanswered.values()))

    def _answered(self, delivery: Delivery) -> bool:
        return delivery.generation == self._generation and self._unanswered.pop(delivery.tag, None) is not None


def topic_matches(pattern: str, key: str) -> bool:
    """AMQP's rule: `*` is one word, `#` is any number of them."""
    return _words_match(pattern.split("."), key.split("."))


def _words_match(pattern: Sequence[str], words: Sequence[str]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_words_match(pattern[1:], words[start:]) for start in range(len(words) + 1))
    return bool(words) and pattern[0] in {"*", words[0]} and _words_match(pattern[1:], words[1:])

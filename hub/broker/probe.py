"""Tries with a spoke's credential what no spoke may do, and says what the broker allowed.

The fences never authorise, but a fence that is down is a mistake someone made: the hub refuses to start over it.
Not on the list, since RabbitMQ allows it: a CC header before 4.0 (deliveries with one are dropped by their mark), and a
passive declare of another's queue (ids are random, nothing of a message shows).
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hub.broker.admin import BrokerAdmin
from hub.broker.errors import BrokerError
from wire import topology
from wire.amqp.attempts import Answer, Attempts
from wire.errors import ConnectionLost
from wire.tls import TlsContext
from wire.topology import EventKind

_PREDEFINED = ("amq.direct", "amq.fanout", "amq.headers", "amq.match", "amq.topic")


def denials(admin: BrokerAdmin, url_for: Callable[[str, str], str], *, tls: TlsContext | None = None) -> list[str]:
    """What was allowed that must not be; empty is right.

    Args:
        admin: Makes two spokes for this, and removes them.
        url_for: The URL of a user and password, as spokes would use it.
        tls: The pinned context, where the broker speaks TLS.

    Raises:
        BrokerError: a spoke cannot do its honest work either, so that nothing was proved.
    """
    with _two_spokes(admin) as (mine, password, other):
        allowed = _logins(url_for, tls)
        with Attempts(url_for(topology.spoke_user(mine), password), tls=tls) as attempts:
            _must_work(attempts, mine)
            allowed += [what for what, answer in _attempts(attempts, mine, other) if answer.allowed]
    return allowed


@contextmanager
def _two_spokes(admin: BrokerAdmin) -> Iterator[tuple[str, str, str]]:
    # The second id begins with the first: a pattern without its end would let one read the other's mail.
    mine = f"probe-{secrets.token_hex(8)}"
    other = f"{mine}0"
    password = secrets.token_hex(32)
    try:
        admin.ensure_tenant(topology.spoke_tenant(mine), password)
        admin.ensure_tenant(topology.spoke_tenant(other), secrets.token_hex(32))
        yield mine, password, other
    finally:
        admin.remove_tenant(topology.spoke_tenant(mine))
        admin.remove_tenant(topology.spoke_tenant(other))


def _must_work(attempts: Attempts, mine: str) -> None:
    honest = {
        "take from its own mailbox": attempts.get(topology.spoke_queue(mine)),
        # A beat nobody knows is stale at once; a hello would go on the hub's books.
        "say something under its own name": attempts.publish(
            topology.EVENTS, topology.event_key(mine, EventKind.BEAT), user_id=topology.spoke_user(mine)
        ),
    }
    for what, answer in honest.items():
        if not answer.allowed:
            raise BrokerError(f"the broker does not let a spoke {what}: {answer.code} {answer.said}")


def _attempts(attempts: Attempts, mine: str, other: str) -> Iterator[tuple[str, Answer]]:
    yield from _reading(attempts, topology.spoke_queue(other))
    for queue in topology.hub_topology().queues:
        yield from _reading(attempts, queue.name)
    yield from _publishing(attempts, mine, other)
    yield from _shaping(attempts, mine, other)


def _reading(attempts: Attempts, queue: str) -> Iterator[tuple[str, Answer]]:
    yield f"consume {queue}", attempts.consume(queue)
    yield f"get from {queue}", attempts.get(queue)
    yield f"purge {queue}", attempts.purge(queue)


def _publishing(attempts: Attempts, mine: str, other: str) -> Iterator[tuple[str, Answer]]:
    for kind in EventKind:
        key = topology.event_key(other, kind)
        yield f"publish as another spoke, key {key}", attempts.publish(topology.EVENTS, key)
    foreign = topology.spoke_user(other)
    own_key = topology.event_key(mine, EventKind.BEAT)
    yield "publish with another's user_id", attempts.publish(topology.EVENTS, own_key, user_id=foreign)
    yield "publish a command", attempts.publish(topology.COMMANDS, other)
    yield "publish a command to itself", attempts.publish(topology.COMMANDS, mine)
    yield "publish an intent", attempts.publish(topology.INTENTS, topology.INTENT_KEY)
    yield "publish a dead letter", attempts.publish(topology.DEAD, "x")
    for queue in (topology.spoke_queue(other), topology.HUB_RESULTS, topology.HUB_INTENTS):
        yield f"publish by the default exchange to {queue}", attempts.publish("", queue)
    for exchange in _PREDEFINED:
        yield f"publish by {exchange}", attempts.publish(exchange, "x")


def _shaping(attempts: Attempts, mine: str, other: str) -> Iterator[tuple[str, Answer]]:
    for spoke_id in (mine, other):
        queue = topology.spoke_queue(spoke_id)
        yield f"delete {queue}", attempts.delete_queue(queue)
        yield f"bind {queue}", attempts.bind(queue, topology.EVENTS, "#")
        yield f"unbind {queue}", attempts.unbind(queue, topology.COMMANDS, spoke_id)
    yield f"bind {topology.HUB_RESULTS}", attempts.bind(topology.HUB_RESULTS, topology.COMMANDS, mine)
    yield "declare a queue", attempts.declare_queue(f"spoke.{mine}.more")
    yield "declare a nameless queue", attempts.declare_queue("")
    yield "declare an exchange", attempts.declare_exchange(f"{mine}-exchange")
    yield f"delete {topology.EVENTS}", attempts.delete_exchange(topology.EVENTS)


def _logins(url_for: Callable[[str, str], str], tls: TlsContext | None) -> list[str]:
    """Users that must not exist, or not with such passwords."""
    known = {"guest": "guest", topology.HUB_USER: "", topology.ADMIN_USER: topology.ADMIN_USER}
    return [f"login as {user}" for user, password in known.items() if _lets_in(url_for(user, password), tls)]


def _lets_in(url: str, tls: TlsContext | None) -> bool:
    try:
        with Attempts(url, tls=tls):
            return True
    except ConnectionLost:
        return False

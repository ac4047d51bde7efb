"""What a malicious broker can do: copy the commands to a spoke, and put bytes of its own into a mailbox."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.services.whole import until
from wire import topology
from wire.amqp.connection import AmqpConnection
from wire.connection import Delivery, Outgoing, Subscription
from wire.envelope import MAGIC, MessageType, peek
from wire.topology import Binding, Queue, Topology

_PASSWORD = """
from config.settings import HubSettings
from hub.broker.credentials import hub_password
from hub.storage.opening import open_vault
from hub.storage.key_check import unlock
from hub.storage.vault import ProcessClass
settings = HubSettings.load()
master = unlock(settings.master_key_source, settings.home, settings.database)
print(hub_password(open_vault(settings, master.kek(ProcessClass.ENGINE))))
"""


class Tap:
    """On the commands to one spoke."""

    def __init__(self, connection: AmqpConnection, copies: Subscription, ids: Mapping[str, str]) -> None:
        self._connection = connection
        self._copies = copies
        self._ids = ids
        self._seen: list[bytes] = []

    def wait_until_in_place(self, spoke_id: str) -> None:
        """It is when it sees what we publish ourselves; the spoke keeps such junk in quarantine."""

        def seen() -> bool:
            self._connection.publish(Outgoing(topology.COMMANDS, spoke_id, b"is anybody there")).result(30)
            found = self._copies.take(10, 0.5)
            self._copies.ack(found)
            return bool(found)

        until(seen, "the tap sees nothing")

    def command(self) -> bytes:
        """The next command that the hub sends, as it is on the wire."""
        return self.next_of(MessageType.COMMAND)

    def next_of(self, kind: MessageType) -> bytes:
        """The next frame of that kind which the hub sends; what it sends of others is kept for whoever asks for that."""

        def came() -> bytes | None:
            for delivery in self._copies.take(10, 0.5):
                self._copies.ack([delivery])
                if delivery.body.startswith(MAGIC):
                    self._seen.append(delivery.body)
            return next((frame for frame in self._seen if peek(frame)[0] is kind), None)

        found: bytes = until(came, f"no {kind.name.lower()} was seen")
        self._seen.remove(found)
        return found

    def publish(self, kind: str, body: bytes) -> None:
        """Into the mailbox of a kind's spoke."""
        self._connection.publish(Outgoing(topology.COMMANDS, self._ids[kind], body)).result(30)


@contextmanager
def tapping(broker: str, environ: Mapping[str, str], spoke_id: str, ids: Mapping[str, str]) -> Iterator[Tap]:
    """As the hub's own user: `ids` are the spokes' ids by kind."""
    queue = f"hub.tap-{spoke_id[:8]}"
    tapped = Topology(queues=(Queue(queue),), bindings=(Binding(topology.COMMANDS, queue, spoke_id),))
    with _as_the_hub(broker, environ, tapped) as connection:
        tap = Tap(connection, connection.consume(queue, prefetch=50), ids)
        tap.wait_until_in_place(spoke_id)
        yield tap


def lose_logs(broker: str, environ: Mapping[str, str]) -> int:
    """While no engine hears them: every third part of a log that the broker has is gone; how many that were."""
    with _as_the_hub(broker, environ, Topology()) as connection:
        subscription = connection.consume(topology.HUB_LOGS, prefetch=2_000)
        found: list[Delivery] = []
        while more := subscription.take(500, 2.0):
            found += more
        lost = [part for number, part in enumerate(found) if number % 3 == 1]
        subscription.ack(lost)
        # What is not answered goes back to its place.
        subscription.close()
        return len(lost)


@contextmanager
def _as_the_hub(broker: str, environ: Mapping[str, str], declare: Topology) -> Iterator[AmqpConnection]:
    password = subprocess.run(
        [sys.executable, "-c", _PASSWORD], env=dict(environ), capture_output=True, text=True, check=True
    ).stdout.strip()
    url = f"amqp://{topology.HUB_USER}:{password}@{broker}/{topology.VHOST}"
    connection = AmqpConnection(url, name="tap", declare=declare)
    try:
        yield connection
    finally:
        connection.close()

"""A hub in one process and a real broker: what is published, who hears it, and what is asked, step by step.

world.program("crm", projects=["Shop"])  ->  program.hear(), program.ask("deployment.request", {...})
"""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hub.broker.admin import BrokerAdmin
from hub.integration.broker_side import BrokerSide, BrokerSideParts
from hub.integration.commands import CommandDesk, CommandParts
from hub.integration.event_types import TYPE_PREFIX
from hub.integration.numbering import Origin, make_events
from hub.integration.publisher import EventPublisher, PublisherParts
from hub.storage.database import connection
from hub.storage.models import EventCursor, IntegrationEvent
from tests.fakes.api_hub import ApiHub, running_api
from tests.services.rabbitmq import Broker
from wire import integration_topology as topology
from wire.amqp import AmqpConnection
from wire.connection import Delivery, Outgoing, Properties
from wire.topology import ADMIN_USER, HUB_USER

URL = "https://hub.example"
_HEAR_S = 60.0


def url_in(node: Broker, user: str, password: str) -> str:
    """Of the integrations' virtual host."""
    return f"{node.url_for(user, password).rpartition('/')[0]}/{topology.VHOST}"


@dataclass
class Program:
    """Somebody else's: it knows its account, its queues, and an API key."""

    world: "IntegrationWorld"
    id: str
    password: str
    token: str
    link: AmqpConnection
    since: int
    _queues: dict[str, Any] = field(default_factory=dict)

    @property
    def user(self) -> str:
        return topology.consumer_user(self.id)

    @property
    def answers(self) -> str:
        return topology.answers_queue(self.id)

    def hear(self, count: int) -> list[dict[str, Any]]:
        """So many events, in the order in which they come."""
        return [json.loads(delivery.body) for delivery in self.take(topology.events_queue(self.id), count)]

    def take(self, queue: str, count: int) -> list[Delivery]:
        subscription = self._queues.get(queue) or self.link.consume(queue, prefetch=100)
        self._queues[queue] = subscription
        found: list[Delivery] = []
        while len(found) < count:
            some = subscription.take(count - len(found), _HEAR_S)
            assert some, f"{len(found)} of {count} came: {[delivery.key for delivery in found]}"
            subscription.ack(some)
            found += some
        return found

    def stored(self) -> list[IntegrationEvent]:
        """What the hub has made since this program was there."""
        with connection():
            return list(
                IntegrationEvent.select().where(IntegrationEvent.seq > self.since).order_by(IntegrationEvent.seq)
            )

    def ask(self, kind: str, data: dict[str, Any], **options: Any) -> dict[str, Any]:
        """Send a command, have the hub work, and read the answer's data."""
        self.send(kind, data, **options)
        self.world.work_commands(1)
        (answer,) = self.take(self.answers, 1)
        return dict(json.loads(answer.body)["data"])

    def send(
        self,
        kind: str,
        data: dict[str, Any],
        *,
        key: str = "",
        token: str | None = None,
        reply_to: str | None = None,
        idempotency_key: str = "",
        body: bytes | None = None,
        content_type: str = "application/cloudevents+json",
        **attributes: Any,
    ) -> None:
        event = {
            "specversion": "1.0",
            "id": secrets.token_hex(8),
            "source": "/crm",
            "type": f"{TYPE_PREFIX}.{kind}.v1",
            "idempotencykey": idempotency_key or secrets.token_hex(8),
            "data": data,
            **attributes,
        }
        properties = Properties(
            content_type=content_type,
            correlation_id="order 7",
            reply_to=self.answers if reply_to is None else reply_to,
            headers={"authorization": f"Bearer {self.token if token is None else token}"},
        )
        content = json.dumps(event).encode() if body is None else body
        self.link.publish(Outgoing(topology.COMMANDS, key or kind, content, properties=properties)).result(_HEAR_S)


@dataclass
class IntegrationWorld:
    """`publish` and `work_commands` are what the engine's loops do, one round at a time."""

    hub: ApiHub
    node: Broker
    admin: BrokerAdmin
    side: BrokerSide
    publisher: EventPublisher
    desk: CommandDesk
    origin: list[Origin]
    programs: list[Program] = field(default_factory=list)

    def publish(self) -> None:
        """Until nothing is left."""
        with connection():
            while self.publisher.work():
                continue

    def start_again(self) -> None:
        """The publisher of a new process, which knows what stands in the rows alone."""
        self.publisher = EventPublisher(PublisherParts(self.side, lambda: self.origin[0]))

    def work_commands(self, count: int) -> None:
        link = self.side.connection
        assert link is not None
        subscription = link.consume(topology.HUB_COMMANDS, prefetch=20)
        try:
            for _ in range(count):
                (delivery,) = subscription.take(1, _HEAR_S)
                self.desk.handle(link, delivery)
                subscription.ack([delivery])
        finally:
            subscription.close()

    def program(
        self,
        name: str = "",
        *,
        projects: list[str] | None = None,
        commands: bool = False,
        token: str = "",
    ) -> Program:
        wanted = {"name": name or secrets.token_hex(6), "commands": commands}
        made = self.hub.post("/integration/consumers", wanted | ({} if projects is None else {"projects": projects}))
        assert made.status_code == 201, made.json
        self.publish()
        link = AmqpConnection(
            url_in(self.node, made.json["consumer"]["user"], made.json["password"]), name="program", heartbeat_s=10
        )
        assert link.wait_connected(_HEAR_S)
        # Nothing that was there before it is meant for it.
        self.purge(topology.events_queue(made.json["id"]))
        with connection():
            since = EventCursor.get_by_id(1).made
        found = Program(self, made.json["id"], made.json["password"], token, link, since)
        self.programs.append(found)
        return found

    def make(self) -> None:
        """Events are made and wait for the broker."""
        with connection():
            make_events(self.origin[0], 1000, lambda: None)

    def purge(self, queue: str) -> None:
        self.admin.purge(queue)

    def dead_letters(self, count: int) -> list[Delivery]:
        link = self.side.connection
        assert link is not None
        subscription = link.consume(topology.HUB_DEAD, prefetch=10)
        try:
            found: list[Delivery] = []
            while len(found) < count:
                some = subscription.take(count - len(found), _HEAR_S)
                assert some, f"{len(found)} of {count} came"
                subscription.ack(some)
                found += some
            return found
        finally:
            subscription.close()


@contextmanager
def integration_world(folder: Path, node: Broker, **options: Any) -> Iterator[IntegrationWorld]:
    with running_api(
        folder, change=lambda parts: replace(parts, broker_url="amqps://hub.example:5671"), **options
    ) as hub:
        admin = BrokerAdmin(node.node.admin_url, ADMIN_USER, node.credentials.admin_password, topology.VHOST)
        url = url_in(node, HUB_USER, node.credentials.hub_password)
        side = BrokerSide(
            BrokerSideParts(
                admin=admin,
                hub_user=HUB_USER,
                connect=lambda: AmqpConnection(url, name="integrations", declare=topology.hub_topology()),
                vault=hub.installed.engine,
                seals=hub.installed.seals,
            )
        )
        origin = [Origin(hub.installed.hub_id, 1, URL)]
        publisher = EventPublisher(PublisherParts(side, lambda: origin[0]))
        desk = CommandDesk(
            CommandParts(
                link=lambda: side.connection,
                vault=hub.installed.engine,
                seals=hub.installed.seals,
                context=hub.answering.context,
                origin=lambda: origin[0],
                wake=lambda: None,
            )
        )
        world = IntegrationWorld(hub, node, admin, side, publisher, desk, origin)
        try:
            world.publish()
            yield world
        finally:
            for program in world.programs:
                program.link.close()
            side.close()

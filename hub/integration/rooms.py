"""The integrations' loops, built: what goes out, what comes in, and what is forgotten."""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Event

from config.settings import HubSettings
from hub.access.caller import Caller
from hub.broker import endpoint
from hub.integration.broker_side import BrokerSide, BrokerSideParts
from hub.integration.commands import CommandDesk, CommandParts
from hub.integration.numbering import Origin, prune
from hub.integration.publisher import LEASE, EventPublisher, PublisherParts
from hub.operations.context import Context
from hub.orchestrator.leases import Leases
from hub.orchestrator.parts import Loop
from hub.storage.database import connection
from hub.storage.models import now_ms
from hub.storage.seals import RowSeals
from hub.storage.vault import Vault
from wire.amqp import AmqpConnection
from wire.integration_topology import VHOST, hub_topology
from wire.tls import TlsContext

_TIDY_S = 600.0


@dataclass(frozen=True, slots=True)
class IntegrationParts:
    """What the engine lends.

    Attributes:
        epoch: Of this moment.
        context: For an operation in somebody's name.
        wake: There may be something to send, after a commit.
        tls: How the broker is checked; None on loopback.
    """

    settings: HubSettings
    vault: Vault
    seals: RowSeals
    hub_id: str
    epoch: Callable[[], int]
    context: Callable[[Caller], Context]
    wake: Callable[[], None]
    leases: Leases
    tls: TlsContext | None


def integration_loops(parts: IntegrationParts) -> tuple[Loop, ...]:
    """For the engine to run."""
    side = BrokerSide(
        BrokerSideParts(
            admin=endpoint.administrator(parts.settings, parts.vault, VHOST),
            hub_user=endpoint.hub_user(parts.settings),
            connect=lambda: _connect(parts),
            vault=parts.vault,
            seals=parts.seals,
        )
    )

    def origin() -> Origin:
        return Origin(parts.hub_id, parts.epoch(), parts.settings.portal_url)

    publisher = EventPublisher(
        PublisherParts(
            broker=side,
            origin=origin,
            mine=lambda: parts.leases.held(LEASE),
            fence=lambda: parts.leases.fence(LEASE),
        )
    )
    desk = CommandDesk(
        CommandParts(
            link=lambda: side.connection,
            vault=parts.vault,
            seals=parts.seals,
            context=parts.context,
            origin=origin,
            wake=parts.wake,
        )
    )
    keep_ms = parts.settings.limits.event_keep_s * 1000

    def tidy(stop: Event) -> None:
        while not stop.is_set():
            with connection():
                desk.tidy()
                if parts.leases.held(LEASE):
                    prune(now_ms() - keep_ms)
            stop.wait(_TIDY_S)

    return (
        Loop("events for others", publisher.run),
        Loop("commands of others", desk.run),
        Loop("past events", tidy),
    )


def _connect(parts: IntegrationParts) -> AmqpConnection:
    url = endpoint.integration_url(parts.settings, parts.vault)
    return AmqpConnection(url, name="integrations", tls=parts.tls, declare=hub_topology())

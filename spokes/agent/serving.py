"""Serves with mail from RabbitMQ: what all spokes have in common but those that relays dial."""

import logging
import signal
import urllib.parse
from collections.abc import Callable, Mapping
from types import MappingProxyType

from config import parent
from config.settings import SpokeSettings
from spokes.agent.daemon import SpokeDaemon
from spokes.agent.home import SpokeHome
from spokes.agent.identity import Enrolment, IdentityStore
from spokes.agent.kind import Deeds, SpokeKind
from spokes.agent.sites import Sites
from spokes.agent.this_site import Ground, ThisSite
from wire.amqp.connection import AmqpConnection
from wire.tls import client_context, public_client_context

NOTHING: Mapping[str, str] = MappingProxyType({})
logger = logging.getLogger(__name__)


def serve_this_machine(settings: SpokeSettings, kind: SpokeKind, facts: Mapping[str, str] = NOTHING) -> int:
    """Serve until TERM or INT; runs that are under way go on. `facts` stand in the status file."""
    return serve_from_rabbitmq(settings, kind, facts=facts)


def serve_from_rabbitmq(
    settings: SpokeSettings,
    kind: SpokeKind,
    *,
    sites: Callable[[Ground], Sites] = ThisSite,
    deeds: Callable[[Sites], Deeds] = lambda _: {},
    facts: Mapping[str, str] = NOTHING,
) -> int:
    """The same for any machines; `sites` and `deeds` as `SpokeDaemon` takes them."""
    enrolment = IdentityStore(SpokeHome(settings.home)).enrolment()
    connection = broker_connection(enrolment)
    daemon = SpokeDaemon(
        settings,
        connection,
        kind,
        sites=sites,
        deeds=deeds,
        state=lambda: {"broker": connection.state, **facts},
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: daemon.stop())
    logger.info(
        "serving",
        extra={
            "kind": kind.name,
            "spoke": enrolment.spoke_id,
            "spoke_name": enrolment.name,
            "home": str(settings.home),
        },
    )
    parent.say_ready()
    try:
        daemon.run()
    finally:
        daemon.close()
    logger.info("stopped")
    return 0


def broker_connection(enrolment: Enrolment) -> AmqpConnection:
    """To the broker that the hub named, as our own user; over TLS the broker's key is the one that the hub named."""
    address = urllib.parse.urlsplit(enrolment.broker_url)
    user, password, vhost = (
        urllib.parse.quote(part, safe="")
        for part in (enrolment.broker_user, enrolment.broker_password.reveal(), enrolment.broker_vhost)
    )
    place = address.netloc.rpartition("@")[2]
    url = f"{address.scheme}://{user}:{password}@{place}/{vhost}"
    tls = None
    if address.scheme == "amqps":
        tls = client_context([enrolment.broker_spki]) if enrolment.broker_spki else public_client_context()
    return AmqpConnection(url, name=f"spoke {enrolment.name}", tls=tls)

"""The polling kind: stands on the target, dials out to RabbitMQ, and takes its jobs from its own queue."""

import logging
import signal
import urllib.parse

from config.settings import SpokeSettings
from spokes.agent.daemon import SpokeDaemon
from spokes.agent.home import SpokeHome
from spokes.agent.identity import Enrolment, IdentityStore
from spokes.agent.kind import SpokeKind
from wire.amqp.connection import AmqpConnection
from wire.messages import Op
from wire.tls import client_context, public_client_context

logger = logging.getLogger(__name__)


def serve(settings: SpokeSettings) -> int:
    """Serve until TERM or INT; runs that are under way go on."""
    enrolment = IdentityStore(SpokeHome(settings.home)).enrolment()
    connection = broker_connection(enrolment)
    daemon = SpokeDaemon(settings, connection, KIND, state=lambda: {"broker": connection.state})
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: daemon.stop())
    logger.info(
        "serving", extra={"spoke": enrolment.spoke_id, "spoke_name": enrolment.name, "home": str(settings.home)}
    )
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


KIND = SpokeKind(
    name="polling",
    title="Polling: the spoke dials out to the broker",
    ops=frozenset({Op.PING, Op.CHECK, Op.RUN_JOB, Op.UPDATE_TRUST}),
    serve=serve,
)

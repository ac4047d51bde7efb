"""The ssh kind: stands beside the hub, takes its jobs from RabbitMQ, and acts on targets that it reaches by SSH.

One spoke serves them all: each command says, sealed, where its target is and by what it lets us in.
"""

from config.settings import SpokeSettings
from spokes.agent.kind import SpokeKind
from spokes.agent.serving import serve_from_rabbitmq
from spokes.remote.checks import deeds
from spokes.remote.sites import RemoteSites
from spokes.ssh import open_connection
from wire.messages import Op


def serve(settings: SpokeSettings) -> int:
    """Serve until TERM or INT; runs that are under way go on."""
    return serve_from_rabbitmq(settings, KIND, sites=lambda ground: RemoteSites(ground, open_connection), deeds=deeds)


KIND = SpokeKind(
    name="ssh",
    title="SSH: beside the hub, for machines that are reached by SSH",
    ops=frozenset({Op.PING, Op.CHECK, Op.RUN_JOB, Op.UPDATE_TRUST, Op.SCAN_HOST_KEY}),
    serve=serve,
)

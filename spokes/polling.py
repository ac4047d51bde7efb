"""The polling kind: stands on the target, dials out to RabbitMQ, and takes its jobs from its own queue."""

from config.settings import SpokeSettings
from spokes.agent.kind import SpokeKind
from spokes.agent.serving import serve_this_machine
from wire.messages import Op


def serve(settings: SpokeSettings) -> int:
    """Serve until TERM or INT; runs that are under way go on."""
    return serve_this_machine(settings, KIND)


KIND = SpokeKind(
    name="polling",
    title="Polling: the spoke dials out to the broker",
    ops=frozenset({Op.PING, Op.CHECK, Op.RUN_JOB, Op.UPDATE_TRUST}),
    serve=serve,
)

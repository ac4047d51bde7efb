"""The local kind: stands beside the hub, takes its jobs from RabbitMQ, and acts on the hub's own machine.

It serves what is no machine, such as a cloud account, and the steps that run on the hub. It is a stranger there as
any spoke is: its own process, identity and broker account, none of the hub's keys, and, where root has started it, an
OS user of its own.
"""

from config.settings import SpokeSettings
from spokes.agent.kind import SpokeKind
from spokes.agent.serving import serve_this_machine
from wire.messages import Op


def serve(settings: SpokeSettings) -> int:
    """Serve until TERM or INT; runs that are under way go on."""
    return serve_this_machine(settings, KIND)


KIND = SpokeKind(
    name="local",
    title="Local: beside the hub, for what is no machine and for steps on the hub",
    ops=frozenset({Op.PING, Op.CHECK, Op.RUN_JOB, Op.UPDATE_TRUST}),
    serve=serve,
)

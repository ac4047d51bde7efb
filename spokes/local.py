"""The local kind: stands beside the hub, takes its jobs from RabbitMQ, and acts on the hub's own machine.

It serves what is no machine, such as a cloud account, and the steps that run on the hub. It is a stranger there as
any spoke is: its own process, identity and broker account, none of the hub's keys, and, where root has started it, an
OS user of its own.
"""

import logging
import os
import pwd
import sys
from dataclasses import replace

from config.settings import SpokeSettings
from spokes.agent.kind import SpokeKind
from spokes.agent.os_user import first_python, keep_to_itself
from spokes.agent.serving import serve_this_machine
from wire.messages import Op

logger = logging.getLogger(__name__)


def serve(settings: SpokeSettings) -> int:
    """Serve until TERM or INT; runs that are under way go on."""
    keep_to_itself()
    python = settings.runner_python or own_or_first_python()
    if not python:
        logger.error("no Python for jobs", extra={"need": "a python3 of 3.9 or later on the path"})
    facts = {"os_user": pwd.getpwuid(os.geteuid()).pw_name, "python": python}
    return serve_this_machine(replace(settings, runner_python=python or "python3"), KIND, facts)


def own_or_first_python() -> str:
    """Our own interpreter if this OS user may run it, as it does unless root has started us; else the first it may."""
    return sys.executable if os.access(sys.executable, os.X_OK) else first_python()


KIND = SpokeKind(
    name="local",
    title="Local: beside the hub, for what is no machine and for steps on the hub",
    ops=frozenset({Op.PING, Op.CHECK, Op.RUN_JOB, Op.UPDATE_TRUST}),
    serve=serve,
)

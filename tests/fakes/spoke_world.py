"""One spoke and everything around it: a hub's end, a gateway, a broker in memory, and the runner as it is built."""

import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from runner.build import build
from spokes.agent.daemon import SpokeDaemon
from tests.fakes.hub_end import HubEnd, Sent
from tests.fakes.memory import MemoryBroker, MemoryConnection
from tests.fakes.parties import FakeHub, command
from tests.fakes.spoke_gateway import FakeGateway
from tests.fakes.spoke_home import EnrolledHome, enrolled_home, serving
from wire.messages import Command, Limits, PackageRef
from wire.topology import HUB_USER


@lru_cache(maxsize=1)
def built_runner() -> Path:
    """The archive, built once a test session."""
    path = Path(tempfile.mkdtemp(prefix="manyarm-runner-")) / "runner.pyz"
    build(path)
    return path


def script_job(script: str, **changes: Any) -> dict[str, Any]:
    """A step that runs a bash script."""
    named = {"id": "0" * 32, "name": "x"}
    job: dict[str, Any] = {
        "task": "0" * 32,
        "step": {"name": "Try", "kind": "run-script"},
        "attempt": 1,
        "target": named,
        "environment": named,
        "project": named,
        "release": {"id": "", "version": ""},
        "properties": {"shell": "bash", "script": script},
        "variables": {},
        "literals": {},
        "secret_names": [],
        "expose_env": [],
        "package": None,
        "isolation": "",
        "grace_s": 2,
        "tenant": "",
    }
    return job | changes


@dataclass
class World:
    """One spoke and everything around it."""

    hub: FakeHub
    broker: MemoryBroker
    end: HubEnd
    gateway: FakeGateway
    home: EnrolledHome
    runner: PackageRef

    def connection(self) -> MemoryConnection:
        return MemoryConnection(self.broker, f"spoke-{self.home.spoke_id}")

    def serving(self, **changes: Any) -> AbstractContextManager[SpokeDaemon]:
        # What the hub knew of an earlier daemon's session is worth nothing now.
        self.end.spokes[self.home.spoke_id].live = False
        return serving(self.home, self.connection(), **changes)

    def job(self, script: str = "true", **changes: Any) -> Command:
        """A command that runs this script, whole: runner, limits, capability."""
        packages = (*changes.pop("extra", ()), self.runner)
        secrets = changes.get("secrets", {})
        fields: dict[str, Any] = {
            "job": script_job(script, secret_names=sorted(secrets), **changes.pop("job", {})),
            "packages": packages,
            "secrets": {},
            "limits": Limits(60, 60, 1 << 24, 1 << 30),
            "capability": self.gateway.capability(self.home.spoke_id, *packages),
        }
        return command(**(fields | changes))

    def run(self, script: str = "true", **changes: Any) -> Sent:
        return self.end.command(self.home.spoke_id, self.job(script, **changes))


@contextmanager
def spoke_world(folder: Path, *, heartbeat_s: int = 1) -> Iterator[World]:
    """A world whose spoke is enrolled and whose daemon does not run yet."""
    hub = FakeHub()
    with FakeGateway(hub) as gateway:
        gateway.pinned()
        broker = MemoryBroker()
        home = enrolled_home(folder / "spoke", hub, gateway=gateway.address)
        broker.add_spoke(home.spoke_id)
        end = HubEnd(hub, MemoryConnection(broker, HUB_USER), heartbeat_s=heartbeat_s)
        home.known_to(end)
        end.start()
        try:
            yield World(hub, broker, end, gateway, home, gateway.add_runner(built_runner()))
        finally:
            end.stop()

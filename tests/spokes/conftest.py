"""A hub's end, a gateway and a spoke around one broker in memory, with the runner as it is built."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from runner.build import build
from tests.fakes.hub_end import HubEnd, Sent
from tests.fakes.memory import MemoryBroker, MemoryConnection
from tests.fakes.parties import FakeHub, command
from tests.fakes.spoke_gateway import FakeGateway
from tests.fakes.spoke_home import EnrolledHome, enrolled_home, serving
from wire.messages import Command, Limits, PackageRef
from wire.topology import HUB_USER


@pytest.fixture(scope="session")
def runner_archive(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("runner") / "runner.pyz"
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
    sent: list[Sent] = field(default_factory=list)

    def connection(self) -> MemoryConnection:
        return MemoryConnection(self.broker, f"spoke-{self.home.spoke_id}")

    def serving(self, **changes: Any):
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
        sent = self.end.command(self.home.spoke_id, self.job(script, **changes))
        self.sent.append(sent)
        return sent


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


@pytest.fixture
def gateway(hub):
    with FakeGateway(hub) as gateway:
        yield gateway.pinned()


@pytest.fixture
def world(hub, gateway, tmp_path, runner_archive):
    broker = MemoryBroker()
    home = enrolled_home(tmp_path / "spoke", hub, gateway=gateway.address)
    broker.add_spoke(home.spoke_id)
    end = HubEnd(hub, MemoryConnection(broker, HUB_USER))
    home.known_to(end)
    end.start()
    runner = gateway.add_runner(runner_archive)
    yield World(hub, broker, end, gateway, home, runner)
    end.stop()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

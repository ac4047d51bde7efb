"""A world whose spoke reaches its target by SSH: a real sshd on this machine, and a home of its own behind it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spokes import ssh_spoke
from spokes.agent.daemon import SpokeDaemon
from spokes.remote.checks import deeds
from spokes.remote.endpoint import SECRET_PREFIX, Address, Endpoint, HostKey, Login
from spokes.remote.sites import RemoteSites
from spokes.ssh import open_connection
from tests.fakes.parties import command
from tests.fakes.spoke_world import World, spoke_world
from tests.services.sshd import Sshd
from wire.keys import new_id
from wire.messages import Command, Op
from wire.secret import Secret


@dataclass
class SshWorld(World):
    """`target_home` is the spoke's home on the target; `endpoint` what its commands say of the way there."""

    sshd: Sshd = None  # type: ignore[assignment]
    target_home: Path = Path()
    target: str = field(default_factory=new_id)
    endpoint: dict[str, Any] = field(default_factory=dict)

    @property
    def login(self) -> dict[str, str]:
        return {SECRET_PREFIX + "private_key": self.sshd.client_key}

    @contextmanager
    def serving(self, **changes: Any) -> Iterator[SpokeDaemon]:
        self.end.spokes[self.home.spoke_id].live = False
        daemon = SpokeDaemon(
            self.home.settings(**changes),
            self.connection(),
            ssh_spoke.KIND,
            sites=lambda ground: RemoteSites(ground, open_connection),
            deeds=deeds,
        )
        thread = threading.Thread(target=daemon.run, daemon=True)
        thread.start()
        try:
            yield daemon
        finally:
            daemon.stop()
            thread.join(timeout=10)
            daemon.close()

    def job(self, script: str = "true", **changes: Any) -> Command:
        asked = changes.pop("secrets", {})
        job = changes.pop("job", {})
        named = {
            "endpoint": self.endpoint | changes.pop("endpoint", {}),
            "target": {"id": changes.pop("target", self.target), "name": "ssh-1"},
        }
        return super().job(script, secrets=asked | self.login, job=named | job, **changes)

    def ask(self, op: Op, **changes: Any) -> Any:
        """Send a command that is no job; returns its result."""
        named = {"endpoint": self.endpoint | changes.pop("endpoint", {}), "target": {"id": self.target, "name": "x"}}
        body = command(op=op, job=named, packages=(), secrets=changes.pop("secrets", self.login), capability="")
        return self.end.result(self.end.command(self.home.spoke_id, body).cid)


def endpoint_of(sshd: Sshd, home: Path) -> dict[str, Any]:
    return {
        "kind": "ssh",
        "host": sshd.host,
        "port": sshd.port,
        "user": sshd.user,
        "host_key": sshd.host_key,
        "home": str(home),
        "python": "",
        "account_kind": "ssh-key",
        "allow_weak": False,
    }


def way_to(sshd: Sshd, **changes: Any) -> Endpoint:
    """The same as the spoke reads it."""
    fields: dict[str, Any] = {
        "address": Address(sshd.host, sshd.port),
        "login": Login(sshd.user, Secret(sshd.client_key), None, None),
        "host_key": HostKey.parse(sshd.host_key),
        "home": "",
        "python": "",
        "allow_weak": False,
    }
    return Endpoint(**(fields | changes))


@contextmanager
def ssh_world(folder: Path, sshd: Sshd) -> Iterator[SshWorld]:
    """A world whose ssh spoke is enrolled and whose daemon does not run yet."""
    home = folder / "target"
    with spoke_world(folder) as world:
        yield SshWorld(
            world.hub,
            world.broker,
            world.end,
            world.gateway,
            world.home,
            world.runner,
            sshd=sshd,
            target_home=home,
            endpoint=endpoint_of(sshd, home),
        )

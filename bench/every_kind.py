"""One hub with a target of each kind, named after its kind: polling, listening through the relay, ssh, local.

With doors, what goes to and from a target's spoke is counted on its way:

    polling, local   spoke --[gateway]--> gateway       listening   relay --[listening]--> spoke
    ssh              ssh spoke --[ssh]--> sshd
"""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.meter import Meter, metered
from bench.sshd import WarmSsh, warm_ssh
from bench.stage import Stage, running_hub
from tests.services.ports import free_ports
from tests.services.whole import until

KINDS = ("polling", "listening", "ssh", "local")
ENVIRONMENT = "Bench"
_HOUSE = {"MANYARM_HOUSE_SPOKES": "relay,ssh,local", "MANYARM_ALLOW_INNER_TARGETS": "true"}


@dataclass(frozen=True, slots=True)
class Doors:
    gateway: Meter
    listening: Meter
    ssh: Meter

    def of(self, kind: str) -> Meter:
        return {"listening": self.listening, "ssh": self.ssh}.get(kind, self.gateway)


@dataclass(frozen=True, slots=True)
class EveryKind:
    """The hub, and the ssh that comes by the same server as the ssh target."""

    stage: Stage
    ssh: WarmSsh

    def run(self, kind: str, script: str = "true") -> None:
        """One script to its recorded end."""
        self.stage.run_to_the_end(script, kind)


@contextmanager
def every_kind() -> Iterator[EveryKind]:
    """Nothing stands between hub and spokes."""
    with warm_ssh() as ssh, running_hub(**_HOUSE) as stage:
        yield _filled(stage, ssh, None)


@contextmanager
def every_kind_counted() -> Iterator[tuple[EveryKind, Doors]]:
    """Each way goes through a door."""
    with metered() as gateway, metered() as listening, metered() as ssh_door, warm_ssh(ssh_door) as ssh:
        doors = Doors(gateway, listening, ssh_door)
        with running_hub(**_HOUSE, MANYARM_PUBLIC_NAME=f"127.0.0.1:{gateway.port}") as stage:
            gateway.target = stage.gateway_port
            yield _filled(stage, ssh, doors), doors


def _filled(stage: Stage, ssh: WarmSsh, doors: Doors | None) -> EveryKind:
    file = stage.folder / "places.yaml"
    file.write_text(f"kind: Environment\nname: {ENVIRONMENT}\n")
    stage.whole.manyarm("apply", "-f", str(file))
    _add_local(stage, doors)
    stage.whole.enrol("polling", "polling", environments=(ENVIRONMENT,))
    stage.whole.start_spoke("polling")
    _add_listening(stage, doors)
    _add_ssh(stage, ssh)
    kinds = EveryKind(stage, ssh)
    for kind in KINDS:
        kinds.run(kind)
    return kinds


def _add_listening(stage: Stage, doors: Doors | None) -> None:
    (port,) = free_ports(1)
    reached = port
    if doors is not None:
        doors.listening.target, reached = port, doors.listening.port
    asked = {"roles": ["listening"], "environments": [ENVIRONMENT], "approve": "auto"}
    code = stage.api.post("/join-codes", asked)["code"]
    where = ("--listen", f"127.0.0.1:{port}", "--address", f"127.0.0.1:{reached}")
    stage.whole.spoke("listening", "enrol", code, "--name", "listening", *where)
    stage.whole.start_spoke("listening")


def _add_ssh(stage: Stage, ssh: WarmSsh) -> None:
    secrets = {"private_key": ssh.private_key}
    stage.api.post("/accounts", {"name": "bench", "kind": "ssh-key", "fields": {"user": ssh.user}, "secrets": secrets})
    target = {
        "name": "ssh",
        "kind": "ssh",
        "roles": ["ssh"],
        "environments": [ENVIRONMENT],
        "host": "127.0.0.1",
        "port": ssh.port,
        "account": "bench",
        "host_key": ssh.host_key,
        "home": str(stage.folder / "ssh-home"),
    }
    stage.api.post("/targets", target)


def _add_local(stage: Stage, doors: Doors | None) -> None:
    """It is told the gateway of this machine, so the door is put into what it remembers of its enrolment."""
    row = stage.rows.until(
        lambda: stage.rows.one("SELECT id FROM target WHERE kind = 'local' AND health = 'healthy'"),
        "the local spoke is healthy",
    )
    stage.api.put(f"/targets/{row[0]}", {"name": "local", "roles": ["local"], "environments": [ENVIRONMENT]})
    if doors is not None:
        _lead_through(stage, doors.gateway)


def _lead_through(stage: Stage, door: Meter) -> None:
    file = stage.whole.local_home / "identity" / "spoke.json"
    remembered = json.loads(file.read_text())
    # In place: as root's file it would be no file of the spoke's own user.
    file.write_text(json.dumps(remembered | {"gateway": f"127.0.0.1:{door.port}"}))
    former = stage.whole.part("local")
    os.kill(former, signal.SIGTERM)
    until(lambda: stage.whole.part("local") != former, "the local spoke is not started again")

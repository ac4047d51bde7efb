"""A fleet of listening spokes and its relays around a hub's end, a gateway and a real broker.

with relay_world(broker, folder) as world:
    spoke = world.add_spoke("web-1")
    with world.listening(spoke), world.relay():
        world.end.wait_live(spoke.spoke_id)
"""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from spokes.agent.home import SpokeHome
from spokes.agent.identity import IdentityStore
from spokes.agent.private_files import write_private
from spokes.agent.trust_store import TrustStore
from spokes.listening import ListeningSpoke
from spokes.relay import BrokerConnection, Relay, broker_connection
from spokes.relaying.identity import RelayIdentity
from tests.fakes.hub_end import HubEnd, Sent
from tests.fakes.parties import DAY, NOW, FakeHub, command, trust_document
from tests.fakes.spoke_gateway import FakeGateway
from tests.fakes.spoke_home import EnrolledHome, enrolled_home
from tests.fakes.spoke_world import built_runner, script_job
from tests.services.ports import free_ports
from tests.services.rabbitmq import Broker
from wire import topology
from wire.amqp import AmqpConnection
from wire.documents import FleetDocument, FleetSpoke
from wire.keys import thumbprint
from wire.messages import Command, Limits, PackageRef
from wire.tls import make_client_certificate, spki_sha256
from wire.topology import DEFAULT_FLEET
from wire.trust import DocumentKey, TlsPin, TrustDocument

WAIT_S = 60.0


class TodayHub(FakeHub):
    """A hub whose keys are valid on this machine's clock, by which a relay goes."""

    def document(self, **changes: Any) -> TrustDocument:
        today = int(time.time())
        keys = tuple(
            DocumentKey.of(key.verify_key, role, nbf=today - DAY, naf=NOW + 365 * DAY)
            for key, role in self.keys.items()
        )
        asked: dict[str, Any] = {"issued": today - DAY, "expires": today + 300 * DAY, "keys": keys}
        return replace(trust_document(self.hub_id, self.keys), **(asked | changes))


@dataclass(frozen=True)
class RelayHome:
    root: Path
    relay_id: str
    pin: str


class RunningRelay:
    """A relay in this process, on a loop and thread of its own."""

    def __init__(self, settings: Any, connect: Callable[[RelayIdentity], BrokerConnection]) -> None:
        self._settings = settings
        self._connect = connect
        self._there = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.relay: Relay
        self.loop: asyncio.AbstractEventLoop
        self._thread.start()
        assert self._there.wait(WAIT_S)

    def _run(self) -> None:
        async def serve() -> None:
            self.relay, self.loop = Relay(self._settings, connect=self._connect), asyncio.get_running_loop()
            self._there.set()
            await self.relay.run()

        asyncio.run(serve())

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.relay.stop)
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()


@dataclass
class RelayWorld:
    """`fleet` is what the gateway lists; `hub.publish(...)` changes trust."""

    broker: Broker
    folder: Path
    hub: TodayHub
    gateway: FakeGateway
    end: HubEnd
    relays: list[RelayHome] = field(default_factory=list)
    fleet: dict[str, FleetSpoke] = field(default_factory=dict)
    runner: PackageRef | None = None

    # Relays

    def add_relay(self) -> RelayHome:
        """Enrolled, approved and pinned."""
        home = SpokeHome(self.folder / f"relay-{len(self.relays)}")
        home.make()
        relay_id, password, seed = secrets.token_hex(16), secrets.token_hex(16), os.urandom(32)
        self.broker.admin.ensure_tenant(topology.relay_tenant(relay_id, DEFAULT_FLEET), password)
        url = self.broker.url_for(topology.relay_user(relay_id), password)
        made = RelayHome(home.root, relay_id, spki_sha256(make_client_certificate(seed, "relay")[0]))
        self.relays.append(made)
        self.pin_relays(*self.relays)
        write_private(home.identity / "tls.key", seed)
        content = {
            "spoke_id": relay_id,
            "hub_id": self.hub.hub_id,
            "name": f"relay-{len(self.relays)}",
            "root": self.hub.root_sha256.hex(),
            "gateway": self.gateway.address,
            "kind": "relay",
            "listen": "",
            "broker": {
                "url": "amqp://" + url.rpartition("@")[2].rpartition("/")[0],
                "user": topology.relay_user(relay_id),
                "password": password,
                "vhost": topology.VHOST,
                "spki": "",
            },
        }
        write_private(home.identity / "spoke.json", json.dumps(content).encode())
        TrustStore(home).save(self.hub.chain)
        return made

    def pin_relays(self, *relays: RelayHome) -> None:
        """The next trust document pins these."""
        pins = (TlsPin("gateway", self.gateway.pin), *(TlsPin("relay", relay.pin) for relay in relays))
        self.hub.publish(tls_pins=pins)

    @contextmanager
    def relay(
        self,
        home: RelayHome | None = None,
        *,
        connect: Callable[[RelayIdentity], BrokerConnection] = broker_connection,
        **settings: Any,
    ) -> Iterator[RunningRelay]:
        home = home or (self.relays[0] if self.relays else self.add_relay())
        running = RunningRelay(EnrolledHome(home.root, home.relay_id, None).settings(**settings), connect)  # type: ignore[arg-type]  # A relay has no keys that matter here.
        try:
            yield running
        finally:
            running.stop()

    @contextmanager
    def relay_process(self, home: RelayHome) -> Iterator["subprocess.Popen[bytes]"]:
        """As a program of its own, which a test may kill; what it said is in `relay.log` of its home."""
        with (home.root / "relay.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "spokes.relay", "--home", str(home.root)], stdout=log, stderr=log
            )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            process.wait(WAIT_S)

    # Spokes

    def add_spoke(self, name: str = "web-1", *, known: bool = True, dial: str = "") -> EnrolledHome:
        """Enrolled and approved, with a mailbox; it does not run yet. `dial`: where relays find it, if not itself."""
        made = enrolled_home(self.folder / name, self.hub, gateway="127.0.0.1:9")
        store = IdentityStore(SpokeHome(made.root))
        listen = f"127.0.0.1:{free_ports(1)[0]}"
        store.save_enrolment(replace(store.enrolment(), kind="listening", listen=listen, name=name))
        self.broker.admin.ensure_tenant(topology.listening_tenant(made.spoke_id, DEFAULT_FLEET), "")
        made.known_to(self.end)
        if known:
            self.introduce(made.spoke_id, dial or listen, thumbprint(made.keys.signing.verify_key.pk))
        return made

    def introduce(self, spoke_id: str, address: str, shown: str, spki: str = "") -> None:
        self.fleet[spoke_id] = FleetSpoke(spoke_id, address, shown, spki)

    @contextmanager
    def listening(self, home: EnrolledHome, **changes: Any) -> Iterator[ListeningSpoke]:
        """Serves in this process until the block ends; runs go on."""
        self.end.spokes[home.spoke_id].live = False
        spoke = ListeningSpoke(home.settings(**changes), IdentityStore(SpokeHome(home.root)).enrolment())
        spoke.open()
        thread = threading.Thread(target=spoke.daemon.run, daemon=True)
        thread.start()
        try:
            yield spoke
        finally:
            spoke.daemon.stop()
            thread.join(timeout=10)
            spoke.close()

    # Work

    def job(self, spoke_id: str, script: str = "true", **changes: Any) -> Command:
        if self.runner is None:
            self.runner = self.gateway.add_runner(built_runner())
        packages = (*changes.pop("extra", ()), self.runner)
        secret_values = changes.get("secrets", {})
        fields: dict[str, Any] = {
            "job": script_job(script, secret_names=sorted(secret_values), **changes.pop("job", {})),
            "packages": packages,
            "secrets": {},
            "limits": Limits(60, 60, 1 << 24, 1 << 30),
            "capability": self.gateway.capability(spoke_id, *packages),
        }
        return command(**(fields | changes))

    def run(self, spoke_id: str, script: str = "true", **changes: Any) -> Sent:
        return self.end.command(spoke_id, self.job(spoke_id, script, **changes))

    def hints(self, spoke_id: str) -> list[dict[str, str]]:
        """What relays have said about it, oldest first."""
        return [hint for about, hint in self.end.hints if about == spoke_id]

    def wait(self, holds: Any, what: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while not holds():
            assert time.monotonic() < deadline, f"waited in vain for {what}"
            time.sleep(0.02)

    def fleet_frame(self) -> bytes:
        now = int(time.time())
        # The same bytes for some seconds, so that a tag can match.
        issued = now - now % 60
        document = FleetDocument(
            hub=self.hub.hub_id,
            fleet=DEFAULT_FLEET,
            issued=issued,
            expires=issued + 600,
            gateway=self.gateway.address,
            spokes=tuple(self.fleet.values()),
        )
        return document.sign(self.hub.command)


@contextmanager
def relay_world(broker: Broker, folder: Path) -> Iterator[RelayWorld]:
    hub = TodayHub(now=int(time.time()))
    with FakeGateway(hub) as gateway:
        end = HubEnd(hub, AmqpConnection(broker.hub_url, name="hub end"))
        world = RelayWorld(broker, folder, hub, gateway.pinned(), end)
        gateway.fleet_frame = world.fleet_frame
        world.add_relay()
        end.start()
        try:
            yield world
        finally:
            end.stop()

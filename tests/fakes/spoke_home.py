"""A spoke's home as enrolment leaves it, made without one, and the daemon that serves it in this process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.limits import SpokeLimits
from config.settings import SpokeSettings
from spokes import polling
from spokes.agent.daemon import SpokeDaemon
from spokes.agent.home import SpokeHome
from spokes.agent.identity import Enrolment, IdentityStore, Keys
from spokes.agent.trust_store import TrustStore
from tests.fakes.hub_end import HubEnd
from tests.fakes.parties import FakeHub
from wire.connection import Connection
from wire.keys import new_id
from wire.secret import Secret


@dataclass(frozen=True)
class EnrolledHome:
    root: Path
    spoke_id: str
    keys: Keys

    def settings(self, **changes: Any) -> SpokeSettings:
        limits = SpokeLimits(**({"gateway_timeout_s": 5} | changes.pop("limits", {})))
        return SpokeSettings(home=self.root, limits=limits, **({"standby": False} | changes))

    def known_to(self, end: HubEnd) -> "EnrolledHome":
        end.know(self.spoke_id, self.keys.signing.verify_key, self.keys.box.public)
        return self


def enrolled_home(
    root: Path, hub: FakeHub, *, gateway: str = "127.0.0.1:9", broker_url: str = "", spoke_id: str = ""
) -> EnrolledHome:
    """Keys, trust and the hub's answer on disk. `broker_url`: amqp://user:password@host:port/vhost."""
    home, keys, spoke_id = SpokeHome(root), Keys.generate(), spoke_id or new_id()
    home.make()
    user, _, password = broker_url.partition("://")[2].partition("@")[0].partition(":")
    store = IdentityStore(home)
    store.save_keys(keys)
    store.save_enrolment(
        Enrolment(
            spoke_id=spoke_id,
            hub_id=hub.hub_id,
            name="web-1",
            root=hub.root_sha256,
            gateway=gateway,
            broker_url=broker_url or "amqp://127.0.0.1:9",
            broker_user=user or "nobody",
            broker_password=Secret(password or "nothing"),
        )
    )
    trust = TrustStore(home)
    trust.save(hub.chain)
    trust.save_box(hub.box_frame())
    return EnrolledHome(root, spoke_id, keys)


@contextmanager
def serving(home: EnrolledHome, connection: Connection, **changes: Any) -> Iterator[SpokeDaemon]:
    """The spoke's daemon over this connection until the block ends; runs go on."""
    daemon = SpokeDaemon(home.settings(**changes), connection, polling.KIND)
    thread = threading.Thread(target=daemon.run, daemon=True)
    thread.start()
    try:
        yield daemon
    finally:
        daemon.stop()
        thread.join(timeout=10)
        daemon.close()

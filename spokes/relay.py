"""The relay: stands beside the hub, takes the mail of listening spokes from the broker, dials them and carries it.

    gateway --(signed list of spokes)--> relay --(dials)--> spokes
    broker  <------------ envelopes, byte for byte -------->

It holds no key that opens an envelope and imports nothing that could; `tests/house/test_relay_imports.py` draws what it
reaches. Several relays may serve one fleet: whoever gets a mailbox, which is exclusive, dials its spoke.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from config import parent
from config.errors import SettingsInvalid
from config.logging import set_up
from config.settings import SpokeSettings, parse_address
from spokes.agent.errors import SpokeError
from spokes.agent.home import SpokeHome
from spokes.agent.private_files import write_private
from spokes.agent.trust_store import TrustStore
from spokes.relaying.fleet import FleetWatch
from spokes.relaying.hints import Hints
from spokes.relaying.hub_door import HubDoor
from spokes.relaying.identity import RelayIdentity
from spokes.relaying.link import Carrier, SpokeLink, Surroundings
from spokes.relaying.passage import Passage
from spokes.relaying.room import Room
from wire.amqp import AmqpConnection
from wire.documents import FleetDocument, FleetSpoke
from wire.errors import Refused
from wire.tls import bound_client_context, client_context, public_client_context
from wire.topology import RELAY_SPOKES_MAX
from wire.websocket import prepare_loop

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 2.0
# A dead relay's mailboxes are free after at most two of these, and another one asks within ten seconds.
_BROKER_HEARTBEAT_S = 6


class BrokerConnection(Carrier, Protocol):
    @property
    def state(self) -> str: ...

    def close(self) -> None: ...


class Relay:
    """One process, one loop; `run` until `stop`.

    Args:
        connect: To the broker.

    Raises:
        NotEnrolled, HomeUnsafe, HomeInUse: from the constructor.
    """

    def __init__(self, settings: SpokeSettings, *, connect: Callable[[RelayIdentity], BrokerConnection]) -> None:
        home = SpokeHome(settings.home)
        home.make()
        self._lock = home.hold()
        home.remove_leftovers()
        self._connect = connect
        self._settings = settings
        self._home = home
        self._identity = RelayIdentity.load(home)
        self._door = HubDoor(
            self._identity.gateway,
            self._identity.certificate,
            self._identity.key,
            timeout_s=settings.limits.gateway_timeout_s,
            proxy=settings.https_proxy,
        )
        self._fleet = FleetWatch(self._identity.hub_id, self._identity.root, TrustStore(home), self._door)
        self._links: dict[str, tuple[SpokeLink, asyncio.Task[None]]] = {}
        self._stop = asyncio.Event()
        self._around: Surroundings | None = None

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        prepare_loop(loop)
        identity = self._identity
        carrier = self._connect(identity)
        passage = Passage(self._door, loop)
        parent.leave_with_parent(partial(_soon, loop, self._stop.set))
        parent.say_ready()
        logger.info("serving", extra={"kind": "relay", "spoke": identity.relay_id, "spoke_name": identity.name})
        try:
            while not self._stop.is_set():
                document = await loop.run_in_executor(None, self._fleet.look)
                if document is not None:
                    self._follow(document, carrier, passage)
                if self._around is not None:
                    self._around.hints.alive()
                self._write_status(carrier)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), _LOOK_EVERY_S * random.uniform(0.8, 1.2))  # noqa: S311  Jitter.
        finally:
            await self._drop(list(self._links))
            passage.close()
            await loop.run_in_executor(None, carrier.close)
            self._lock.release()

    def stop(self) -> None:
        """From the loop's own thread, or a signal's handler there."""
        self._stop.set()

    def _follow(self, document: FleetDocument, carrier: BrokerConnection, passage: Passage) -> None:
        """Links for the spokes of the list, as it says; none for others."""
        if self._around is None:
            self._around = self._surroundings(document.fleet, carrier, passage)
        wanted = {spoke.id: spoke for spoke in self._share(document)}
        stale = [spoke_id for spoke_id, (link, _) in self._links.items() if wanted.get(spoke_id) != link.spoke]
        for spoke_id in stale:
            _, task = self._links.pop(spoke_id)
            task.cancel()
            self._around.hints.forget(spoke_id)
        for spoke_id in wanted.keys() - self._links.keys():
            self._begin(wanted[spoke_id])
        logger.info("list of spokes taken", extra={"spokes": len(wanted), "changed": len(stale)})

    def _share(self, document: FleetDocument) -> Sequence[FleetSpoke]:
        """All of them, or as many as one relay can have: of a larger fleet each relay has another part."""
        if len(document.spokes) <= RELAY_SPOKES_MAX:
            return document.spokes
        logger.warning("more spokes than one relay serves; start another relay", extra={"spokes": len(document.spokes)})
        own = self._identity.relay_id
        return sorted(document.spokes, key=lambda spoke: sha256(f"{own} {spoke.id}".encode()).digest())[
            :RELAY_SPOKES_MAX
        ]

    def _begin(self, spoke: FleetSpoke) -> None:
        assert self._around is not None
        link = SpokeLink(spoke, self._around)
        task = asyncio.get_running_loop().create_task(link.run())
        task.add_done_callback(_told)
        self._links[spoke.id] = (link, task)

    def _surroundings(self, fleet: str, carrier: BrokerConnection, passage: Passage) -> Surroundings:
        proxy = self._settings.dial_proxy.removeprefix("http://")
        return Surroundings(
            relay_id=self._identity.relay_id,
            fleet=fleet,
            carrier=carrier,
            tls=bound_client_context(self._identity.certificate, self._identity.key),
            passage=passage,
            hints=Hints(self._identity.relay_id, carrier.publish),
            room=Room(),
            proxy=parse_address(proxy) if proxy else None,
            newer_trust=self._fleet.newer_than,
        )

    async def _drop(self, spoke_ids: Sequence[str]) -> None:
        tasks = [self._links.pop(spoke_id)[1] for spoke_id in spoke_ids]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _write_status(self, carrier: BrokerConnection) -> None:
        links = [link for link, _ in self._links.values()]
        down = {link.spoke.id: link.why_down for link in links if link.is_ours and not link.is_up}
        status: dict[str, Any] = {
            "at": int(time.time()),
            "session": self._identity.relay_id if self._around is not None else "",
            "broker": carrier.state,
            "gateway": self._fleet.trouble or "answers",
            "trust_version": self._fleet.chain.version,
            "spokes": len(links),
            "ours": sum(link.is_ours for link in links),
            "up": sum(link.is_up for link in links),
            "down": dict(list(down.items())[:100]),
        }
        try:
            write_private(self._home.status, json.dumps(status).encode(), durable=False)
        except OSError as error:
            logger.warning("status not written", extra={"why": str(error)})


def broker_connection(identity: RelayIdentity) -> AmqpConnection:
    """As our own user; over TLS the broker's key is the one that the hub named."""
    tls = None
    if identity.broker_url.startswith("amqps:"):
        tls = client_context([identity.broker_spki]) if identity.broker_spki else public_client_context()
    return AmqpConnection(identity.broker_url, name=f"relay {identity.name}", tls=tls, heartbeat_s=_BROKER_HEARTBEAT_S)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until TERM or INT; returns the exit status, as of manyarm-spoke."""
    parser = argparse.ArgumentParser(prog="manyarm-spoke relay", allow_abbrev=False)
    parser.add_argument("--home", type=Path, help="the relay's home (default: MANYARM_SPOKE_HOME)")
    chosen = parser.parse_args(arguments)
    os.umask(0o077)
    # A core file would hold what passes.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        settings = SpokeSettings.load(chosen.home)
        set_up(settings.log_level, settings.log_style, "relay")
        asyncio.run(_serve(settings))
    except SpokeError as error:
        sys.stderr.write(f"manyarm-spoke: {error}\n")
        return error.exit_status
    except (Refused, SettingsInvalid, OSError) as error:
        sys.stderr.write(f"manyarm-spoke: {error}\n")
        return 2 if isinstance(error, SettingsInvalid) else 1
    return 0


async def _serve(settings: SpokeSettings) -> None:
    relay = Relay(settings, connect=broker_connection)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, relay.stop)
    await relay.run()
    logger.info("stopped")


def _soon(loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(act)


def _told(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("a link failed and is not made again before the list changes", exc_info=error)


if __name__ == "__main__":
    sys.exit(main())

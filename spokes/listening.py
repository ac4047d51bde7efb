"""The listening kind: stands on the target and listens; a relay dials in and brings what would lie in its queue."""

import asyncio
import logging
import signal
import socket
import sys
from dataclasses import dataclass, replace

from config import parent
from config.settings import SpokeSettings, parse_address
from spokes.agent.daemon import SpokeDaemon
from spokes.agent.errors import CannotListen, NotEnrolled, SpokeError
from spokes.agent.home import SpokeHome
from spokes.agent.identity import Enrolment, IdentityStore
from spokes.agent.kind import SpokeKind
from spokes.agent.runner_python import runner_python
from spokes.agent.stopping import Stopping
from spokes.relayed.bulk import RelayedGateway
from spokes.relayed.front_door import FrontDoor
from spokes.relayed.introduction import Place, introduce
from spokes.relayed.mail import RelayedConnection
from spokes.relayed.told_trust import told_trust
from wire.address import split_address
from wire.errors import Refused
from wire.messages import Op
from wire.tls import make_certificate, spki_sha256
from wire.websocket import WebSocket

logger = logging.getLogger(__name__)


class ListeningSpoke:
    """One enrolled listening spoke, put together; `address` is where it listens."""

    def __init__(self, settings: SpokeSettings, enrolment: Enrolment) -> None:
        store = IdentityStore(SpokeHome(settings.home))
        certificate, key = make_certificate(store.tls_seed(), "spoke", bound_to=store.signing_key())
        self.door = FrontDoor(settings.listen or enrolment.listen, certificate, key)
        self._mail = RelayedConnection(enrolment.spoke_id, self.door.loop)
        self._gateway = RelayedGateway(
            self.door.loop,
            ask_for_line=self._mail.ask_for_bulk,
            believe=lambda document: self.door.trust(document.pins("relay")),
            timeout_s=settings.limits.gateway_timeout_s,
        )
        self.daemon = SpokeDaemon(settings, self._mail, KIND, gateway=self._gateway, state=self._state)

    @property
    def address(self) -> str:
        return self.door.address

    def open(self) -> None:
        """Raises CannotListen."""
        self.door.open(mail=self._mail.attend, bulk=self._gateway.attend, trust=self._hear_trust)

    def close(self) -> None:
        self.daemon.close()
        self.door.close()

    async def _hear_trust(self, websocket: WebSocket) -> None:
        """From a relay that we do not know yet: the document that names it, if the hub has signed one."""
        try:
            frames = await told_trust(websocket, held=self.daemon.uplink.trust.version)
            if frames:
                await asyncio.get_running_loop().run_in_executor(None, self.daemon.offer_trust, frames)
        except (Refused, SpokeError, TimeoutError, OSError) as error:
            # Anybody may come here as often as he likes, so this is counted and not told.
            self.door.refused["trust"] += 1
            logger.debug("trust documents refused", extra={"peer": websocket.peer, "why": str(error)})

    def _state(self) -> dict[str, object]:
        return {"relay": self._mail.state, "listening": self.address, "refused_connections": dict(self.door.refused)}


def serve(settings: SpokeSettings) -> int:
    """Serve until TERM or INT; runs that are under way go on. One that is not enrolled waits to be introduced first."""
    stopping = Stopping()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    enrolment = _enrolment(settings, stopping)
    if enrolment is None:
        return 0
    spoke = ListeningSpoke(settings, enrolment)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: spoke.daemon.stop())
    try:
        spoke.open()
        logger.info(
            "serving",
            extra={
                "kind": KIND.name,
                "spoke": enrolment.spoke_id,
                "spoke_name": enrolment.name,
                "address": spoke.address,
            },
        )
        parent.say_ready()
        if not stopping.is_set():
            spoke.daemon.run()
    finally:
        spoke.close()
    logger.info("stopped")
    return 0


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where it listens, and where relays dial it."""

    listen: str
    address: str


def checked_addresses(listen: str, address: str) -> Addresses:
    """Both as they were typed.

    Raises:
        CannotListen: One is no address, or relays could not find the spoke there.
    """
    try:
        parse_address(listen)
        host, _ = split_address(address)
    except ValueError as error:
        raise CannotListen(f"{error}; expected host:port, such as web-1.example.com:10933") from error
    if host in {"0.0.0.0", "::"}:  # noqa: S104  Compared, not bound.
        raise CannotListen(f"relays cannot dial {address}: say with --address HOST:PORT where they find this machine")
    return Addresses(listen, address)


def tls_pin(home: SpokeHome) -> str:
    """The pin of this home's TLS key, for the enrolment."""
    certificate, _ = make_certificate(IdentityStore(home).tls_seed(), "spoke")
    return spki_sha256(certificate)


def _enrolment(settings: SpokeSettings, stopping: Stopping) -> Enrolment | None:
    home = SpokeHome(settings.home)
    home.make()
    store = IdentityStore(home)
    try:
        enrolment = store.enrolment()
    except NotEnrolled:
        root = store.required_root()
        if root is None or not settings.listen:
            raise NotEnrolled(
                "this spoke is not enrolled; run: manyarm-spoke enrol JOIN-CODE --name NAME --listen HOST:PORT, or, "
                "without a code: manyarm-spoke trust ROOT-THUMBPRINT, then manyarm-spoke run --listen HOST:PORT"
            ) from None
        python = runner_python(settings.runner_python)
        lock = home.hold()
        try:
            name, timeout_s = socket.gethostname()[:100], settings.limits.gateway_timeout_s
            place = Place(home, settings.listen, root, name, timeout_s, python.shown)
            return introduce(place, stopping, say=_say)
        finally:
            lock.release()
    if settings.listen and settings.listen != enrolment.listen:
        enrolment = replace(enrolment, listen=settings.listen)
        store.save_enrolment(enrolment)
    return enrolment


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


KIND = SpokeKind(
    name="listening",
    title="Listening: a relay dials in to the spoke",
    ops=frozenset({Op.PING, Op.CHECK, Op.RUN_JOB, Op.UPDATE_TRUST}),
    serve=serve,
    tls_pin=tls_pin,
    replaces_signing=False,
)

"""A listening spoke that joins by hand: both thumbprints are typed by people, and no code is needed.

1  the owner of this machine has named the hub's root (`manyarm-spoke trust ROOT`), the administrator this spoke's
   thumbprint and address in the hub
2  a relay dials in; nobody is asked who he is, and one thing is taken: trust documents that verify from there
3  from here on TLS asks for a relay's pin; the hub's box key comes through it, our enrolment goes, the answer comes
"""

import hashlib
import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from spokes.agent.errors import NotEnrolled, SpokeError
from spokes.agent.home import SpokeHome
from spokes.agent.identity import Enrolment, IdentityStore, Keys
from spokes.agent.platform_facts import this_platform
from spokes.agent.stopping import Stopping
from spokes.agent.trust_store import TrustStore, open_box
from spokes.relayed.bulk import RelayedGateway
from spokes.relayed.front_door import FrontDoor
from spokes.relayed.mail import RelayedConnection
from spokes.relayed.told_trust import told_trust
from wire.connection import Outgoing
from wire.errors import Refused, WireError
from wire.keys import thumbprint_of_digest
from wire.messages import Enrol
from wire.session import open_enrolled, seal_enrol
from wire.tls import make_certificate, spki_sha256
from wire.topology import EVENTS
from wire.trust import TrustChain
from wire.websocket import WebSocket

logger = logging.getLogger(__name__)

_PENDING = "introduced"
# Nobody has shown who he is here, so there is room for few.
_STRANGERS_MOST = 8
_ASK_EVERY_S = 30.0
_TRY_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where this spoke lives and listens, the root that it was told to trust, and what runs jobs there."""

    home: SpokeHome
    listen: str
    root: bytes
    name: str
    timeout_s: float
    runner_python: str = ""


def keys_of(home: SpokeHome) -> Keys:
    """Those of this home, which are made if there are none."""
    store = IdentityStore(home)
    try:
        return store.keys()
    except NotEnrolled:
        store.save_keys(Keys.generate())
        return store.keys()


def introduce(place: Place, stopping: Stopping, *, say: Callable[[str], None]) -> Enrolment | None:
    """Wait until a relay has come and the hub has answered; None if stopped before.

    Raises:
        CannotListen, HomeUnsafe.
    """
    keys = keys_of(place.home)
    say(f"This spoke's thumbprint is {keys.thumbprint}")
    say(f"It trusts the hub with root {thumbprint_of_digest(place.root)}, and waits on {place.listen} for a relay.")
    say("Type the thumbprint and the address into the hub: manyarm target add-listening")
    chain = _known_trust(place) or _learned_trust(place, keys, stopping)
    if chain is None:
        return None
    return _Introduction(place, keys, chain, stopping).run()


def _known_trust(place: Place) -> TrustChain | None:
    try:
        return TrustStore(place.home).load(place.root)
    except NotEnrolled:
        return None


def _learned_trust(place: Place, keys: Keys, stopping: Stopping) -> TrustChain | None:
    learned: list[TrustChain] = []
    there = threading.Event()

    async def attend(websocket: WebSocket) -> None:
        try:
            chain = TrustChain.from_root(place.root, await told_trust(websocket, held=0))
        except (Refused, TimeoutError) as error:
            logger.warning("what came was not the hub's trust", extra={"peer": websocket.peer, "why": str(error)})
            return
        learned.append(chain)
        there.set()

    door = _door(place, keys, None)
    door.open(mail=attend)
    try:
        while not there.wait(_TRY_EVERY_S):
            if stopping.is_set():
                return None
    finally:
        door.close()
    TrustStore(place.home).save(learned[0])
    logger.info("trust learned", extra={"version": learned[0].version})
    return learned[0]


def _door(place: Place, keys: Keys, chain: TrustChain | None) -> FrontDoor:
    certificate, key = make_certificate(IdentityStore(place.home).tls_seed(), "spoke", bound_to=keys.signing)
    if chain is None:
        return FrontDoor(place.listen, certificate, key, pins=None, most=_STRANGERS_MOST)
    return FrontDoor(place.listen, certificate, key, pins=chain.document.pins("relay"))


class _Introduction:
    """From the trust document to the hub's answer."""

    def __init__(self, place: Place, keys: Keys, chain: TrustChain, stopping: Stopping) -> None:
        self._place = place
        self._keys = keys
        self._chain = chain
        self._stopping = stopping
        self._store = IdentityStore(place.home)
        self._trust = TrustStore(place.home)
        self._door = _door(place, keys, chain)
        self._mail = RelayedConnection("", self._door.loop)
        self._gateway = RelayedGateway(
            self._door.loop,
            ask_for_line=self._mail.ask_for_bulk,
            believe=lambda document: self._door.trust(document.pins("relay")),
            timeout_s=place.timeout_s,
        )

    def run(self) -> Enrolment | None:
        self._door.open(mail=self._mail.attend, bulk=self._gateway.attend)
        try:
            frame = self._enrolment()
            return self._answered(frame) if frame is not None else None
        finally:
            self._mail.close()
            self._door.close()

    def _enrolment(self) -> bytes | None:
        """The frame that asks, the same one after a restart; None if stopped before the hub's box key came."""
        pending = self._store.recall(_PENDING)
        if pending is not None:
            return bytes.fromhex(str(pending["frame"]))
        while not self._stopping.is_set():
            try:
                box_frame = self._gateway.box()
                box = open_box(box_frame, self._chain, self._chain.document.hub)
            except (SpokeError, Refused) as error:
                logger.debug("the hub's box key was not to be had", extra={"why": str(error)})
                self._stopping.wait(_TRY_EVERY_S)
                continue
            self._trust.save_box(box_frame)
            certificate, _ = make_certificate(self._store.tls_seed(), "spoke")
            sealed = seal_enrol(
                Enrol(
                    token_id="0" * 16,
                    token_secret="0" * 32,
                    box_pk=self._keys.box.public.pk.hex(),
                    tls_spki=spki_sha256(certificate),
                    nonce=secrets.token_hex(16),
                    platform=this_platform(self._place.runner_python),
                    requested_name=self._place.name,
                    kind="listening",
                    address="",
                    roles=(),
                    environments=(),
                ),
                signer=self._keys.signing,
                hub_box=box.box,
                hub_id=self._chain.document.hub,
                trust_sha256=self._chain.sha256,
                epoch=self._chain.document.epoch,
                now_s=int(time.time()),
            )
            self._store.remember(_PENDING, {"frame": sealed.frame.hex()})
            return sealed.frame
        return None

    def _answered(self, frame: bytes) -> Enrolment | None:
        subscription = self._mail.consume("", prefetch=1)
        asked_at = -_ASK_EVERY_S
        while not self._stopping.is_set():
            if time.monotonic() - asked_at >= _ASK_EVERY_S:
                asked_at = time.monotonic()
                self._mail.publish(Outgoing(EVENTS, "", frame))
            deliveries = subscription.take(16, _TRY_EVERY_S)
            for delivery in deliveries:
                made = self._opened(delivery.body, hashlib.sha256(frame).hexdigest())
                if made is not None:
                    subscription.ack(deliveries)
                    return made
            subscription.ack(deliveries)
        return None

    def _opened(self, answer: bytes, asked: str) -> Enrolment | None:
        try:
            _, enrolled = open_enrolled(answer, self._chain, (self._keys.box,), enrol_sha256=asked)
        except WireError as error:
            logger.warning("not the answer to our enrolment", extra={"why": str(error)})
            return None
        made = Enrolment.of(
            enrolled, name=self._place.name, root=self._place.root, kind="listening", listen=self._place.listen
        )
        self._store.save_enrolment(made)
        self._store.forget(_PENDING)
        logger.info("enrolled", extra={"spoke": made.spoke_id, "hub": made.hub_id})
        return made

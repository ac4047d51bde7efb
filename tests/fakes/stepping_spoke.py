"""A spoke's keys and session on disk, driven step by step against a real engine, and killed at a step of the test's.

Life(rig, home).serve()                   one session, and a key rotation to its end if one was begun
Life(rig, home, kill_at=4).serve(...)     raises Killed at its fifth step; what is on disk stays
"""

import time
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

from hub.states import SpokeState
from hub.storage.database import write_tx
from hub.storage.hub_keys import box_document
from hub.storage.models import Spoke, Target
from spokes.agent.home import SpokeHome
from spokes.agent.identity import IdentityStore, Keys
from spokes.agent.key_rotation import KeyRotation
from spokes.agent.mailbox import Mailbox
from spokes.agent.uplink import Uplink
from tests.fakes.memory import MemoryConnection
from wire.connection import Delivery
from wire.documents import BoxDocument
from wire.envelope import MessageType
from wire.errors import Refused
from wire.exchange import Sealed
from wire.keys import SigningKey, new_id
from wire.messages import Heartbeat, Load, Platform
from wire.session import SpokeFacts, SpokeIdentity, SpokeSession
from wire.topology import spoke_user

FACTS = SpokeFacts(1, "stepping", Platform("Linux", "x86_64", "6.1", "3.11", "host"))


class Killed(Exception):
    """The power went."""


class Home:
    """A trusted spoke of the rig's hub, and its folder."""

    def __init__(self, rig, root: Path, name: str) -> None:
        self.root, self.spoke_id, keys = root, new_id(), Keys.generate()
        SpokeHome(root).make()
        IdentityStore(SpokeHome(root)).save_keys(keys)
        row = Spoke(
            id=self.spoke_id,
            name=name,
            state=SpokeState.TRUSTED,
            sign_pk=keys.signing.verify_key.pk.hex(),
            sign_kid=keys.signing.kid.hex(),
            box_pk=keys.box.public.pk.hex(),
        )
        self.target = Target(name=name, spoke=row.id, roles=[])
        with write_tx():
            for sealed in (row, self.target):
                rig.hub.seals.seal(sealed)
                sealed.save(force_insert=True)
        rig.broker.add_spoke(self.spoke_id)

    @property
    def store(self) -> IdentityStore:
        return IdentityStore(SpokeHome(self.root))


class _Steps:
    def __init__(self, kill_at: int | None) -> None:
        self.kill_at, self.taken = kill_at, 0

    def step(self) -> None:
        self.taken += 1
        if self.kill_at is not None and self.taken > self.kill_at:
            raise Killed


class _Store(IdentityStore):
    def __init__(self, home: SpokeHome, steps: _Steps) -> None:
        super().__init__(home)
        self._steps = steps

    def save_next_signing(self, key: SigningKey) -> None:
        self._steps.step()
        super().save_next_signing(key)
        self._steps.step()

    def take_over_next(self) -> None:
        self._steps.step()
        super().take_over_next()
        self._steps.step()


class _Mail(Mailbox):
    def __init__(self, connection: MemoryConnection, spoke_id: str, steps: _Steps, *, twice: bool) -> None:
        super().__init__(connection, spoke_id)
        self._steps, self._twice = steps, twice

    def send(self, kind: MessageType, sealed: Sealed) -> "Future[None]":
        self._steps.step()
        sent = super().send(kind, sealed)
        sent.result()
        if self._twice:
            super().send(kind, sealed).result()
        self._steps.step()
        return sent


class Life:
    """One life of the daemon, as far as keys go; `twice`: the broker delivers everything again."""

    def __init__(self, rig, home: Home, *, kill_at: int | None = None, twice: bool = False) -> None:
        self.steps = _Steps(kill_at)
        store = _Store(SpokeHome(home.root), self.steps)
        keys = store.keys()
        chain = rig.chain
        box = BoxDocument.open(box_document(), chain.directory(), int(time.time()), rig.hub_id).box
        boxes = (keys.box, *(one for one in store.former_boxes().values() if one.kid != keys.box.kid))
        identity = SpokeIdentity(home.spoke_id, rig.hub_id, keys.signing, boxes)
        self._connection = MemoryConnection(rig.broker, spoke_user(home.spoke_id))
        self._mail = _Mail(self._connection, home.spoke_id, self.steps, twice=twice)
        self.uplink = Uplink(self._mail, SpokeSession(identity, chain, chain.document.epoch, box))
        self._asked = True
        self.counter = 0
        self.patience_s = 20.0
        self.rotation = KeyRotation(store, self.uplink, SimpleNamespace(need=lambda _: False), ask_anew=self._ask)

    def serve(self, *, rotate: bool = False, between=lambda _: None) -> None:
        """Sessions until none is asked for; `between` is told what comes next."""
        try:
            while self._asked:
                self._asked = False
                between("hello")
                self.uplink.hello(FACTS)
                self._await_welcome()
                between("beat")
                self.beat()
                self.rotation.welcomed()
                if rotate:
                    rotate = False
                    between("rotate")
                    self.rotation.begin()
        finally:
            self._mail.close()
            self._connection.close()

    def beat(self) -> None:
        self.counter += 1
        nonce, last = self.uplink.hub_nonce, self.uplink.last_seq
        self.uplink.send(Heartbeat(nonce, self.counter, last, Load(1, 64, 10_000, 0), ()))

    def _await_welcome(self) -> None:
        end = time.monotonic() + self.patience_s
        while time.monotonic() < end:
            for delivery in self._mail.take(1, 0.1):
                self._mail.done([delivery])
                if self._welcomed(delivery):
                    return
        raise AssertionError("no welcome came")

    def _welcomed(self, delivery: Delivery) -> bool:
        try:
            self.uplink.welcome(delivery.body)
        except Refused:
            # Of a former life, or a second one.
            return False
        return True

    def _ask(self) -> None:
        self._asked = True

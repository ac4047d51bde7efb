"""Which spokes are ours: the signed list from the gateway, and the trust documents that say who may sign it."""

import logging
import time
from collections.abc import Callable, Sequence

from spokes.agent.errors import SpokeError
from spokes.agent.trust_store import TrustStore
from spokes.relaying.hub_door import HubDoor
from wire.documents import FleetDocument
from wire.errors import Code, Refused
from wire.trust import TrustChain

logger = logging.getLogger(__name__)

_TRUST_EVERY_S = 30.0


class FleetWatch:
    """Asked by one thread at a time; what was verified last stays in force until something better is.

    Args:
        root: SHA-256 of the root key that this relay believes.
        wall: UTC seconds; a relay stands beside its hub, and both have one clock.
    """

    def __init__(
        self,
        hub_id: str,
        root: bytes,
        store: TrustStore,
        door: HubDoor,
        *,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hub_id = hub_id
        self._store = store
        self._door = door
        self._wall = wall
        self._clock = clock
        self.chain: TrustChain = store.load(root)
        self.trouble = ""
        self._tag = ""
        self._trust_asked_at = -_TRUST_EVERY_S
        door.pin(self.chain.document.pins("gateway"))

    def look(self) -> FleetDocument | None:
        """A list that is new; None where nothing is, or nothing that can be believed (`trouble` says why)."""
        try:
            found = self._look()
        except (SpokeError, Refused, OSError) as error:
            if str(error) != self.trouble:
                logger.warning("no list of spokes from the gateway", extra={"why": str(error)})
            self.trouble = str(error)
            return None
        self.trouble = ""
        return found

    def newer_than(self, version: int) -> Sequence[bytes]:
        """Trust documents beyond that version, for one who holds it; all of ours for one who holds none.

        Raises:
            GatewayUnreachable, Refused.
        """
        if version == 0:
            return self.chain.frames
        return self._door.trust(version + 1) if version < self.chain.version else ()

    def _look(self) -> FleetDocument | None:
        if self._clock() - self._trust_asked_at >= _TRUST_EVERY_S:
            self._catch_up()
        try:
            found = self._door.fleet(self._tag)
        except SpokeError:
            # The gateway may have another key by now, and every trust document says which.
            self._catch_up()
            raise
        if found is None:
            return None
        frame, tag = found
        document = self._opened(frame)
        if not document.is_current(int(self._wall())):
            raise Refused(Code.ENV_EXPIRED, "the list of spokes is not of today: compare the clocks of hub and relay")
        self._tag = tag
        return document

    def _opened(self, frame: bytes) -> FleetDocument:
        at = int(self._wall())
        try:
            return FleetDocument.open(frame, self.chain.directory(), at, self._hub_id)
        except Refused as refusal:
            if refusal.code is not Code.ENV_KEY or not self._catch_up():
                raise
            return FleetDocument.open(frame, self.chain.directory(), at, self._hub_id)

    def _catch_up(self) -> bool:
        """Whether there was something newer."""
        self._trust_asked_at = self._clock()
        held = self.chain
        chain = held
        while True:
            longer = chain.update(self._door.trust(chain.version))
            if longer.version == chain.version:
                break
            chain = longer
        if chain.version == held.version:
            return False
        self._store.save(chain)
        self.chain = chain
        self._door.pin(chain.document.pins("gateway"))
        logger.info("trust updated", extra={"version": chain.version})
        return True

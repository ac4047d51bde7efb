"""Keeps up with the hub's trust documents: fetched when the hub names a newer one, verified, stored, then believed."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from spokes.agent.errors import SpokeError
from spokes.agent.trust_store import TrustStore, open_box
from spokes.agent.uplink import Uplink
from wire.errors import Code, Refused
from wire.trust import TrustChain, TrustDocument

logger = logging.getLogger(__name__)


class TrustSource(Protocol):
    def trust(self, since: int) -> list[bytes]: ...


class Hub(TrustSource, Protocol):
    """What the gateway offers to one who is enrolled."""

    def box(self) -> bytes: ...

    def believe(self, document: TrustDocument) -> None: ...


def caught_up(chain: TrustChain, source: TrustSource) -> TrustChain:
    """The chain with everything that the source has; it gives some at a time."""
    while True:
        longer = chain.update(source.trust(chain.version))
        if longer.version == chain.version:
            return longer
        chain = longer


class TrustKeeper:
    """Used by the service's thread, and once at a time by those that it starts."""

    def __init__(self, store: TrustStore, source: Hub) -> None:
        self._store = store
        self._source = source
        self._lock = threading.Lock()
        self.behind = ""
        self._when_updated: Callable[[], None] = _nothing

    def when_updated(self, tell: Callable[[], None]) -> None:
        """Called after a newer document is believed: the hub is to hear that we know it."""
        self._when_updated = tell

    def catch_up_soon(self, uplink: Uplink) -> None:
        """In the background: whoever withholds the documents must not hold up the work."""
        threading.Thread(target=self.catch_up, args=(uplink,), name="trust", daemon=True).start()

    def catch_up(self, uplink: Uplink) -> str:
        """Fetch, verify, store, believe. Returns why it did not work, or ""."""
        with self._lock:
            try:
                self._take(uplink)
            except (SpokeError, Refused, OSError) as error:
                self.behind = str(error)
                logger.warning("trust not updated", extra={"why": str(error), "version": uplink.trust.version})
            else:
                self.behind = ""
            return self.behind

    def offered(self, uplink: Uplink, frames: Sequence[bytes]) -> None:
        """Documents from whoever came with them: taken if they follow what is held.

        Raises:
            Refused: They do not. SpokeError, OSError: They could not be stored.
        """
        with self._lock:
            self._adopt(uplink, uplink.trust.update(frames))

    def refresh(self, uplink: Uplink) -> None:
        """A hello went unanswered: the hub may have changed keys while we were away."""
        self.catch_up(uplink)
        with self._lock:
            try:
                frame = self._source.box()
                box = open_box(frame, uplink.trust, uplink.trust.document.hub).box
            except (SpokeError, Refused, OSError) as error:
                logger.info("the hub's box key was not to be had", extra={"why": str(error)})
                return
            self._keep_box(frame)
            uplink.seal_to(box)

    def remember_box(self, frame: bytes) -> None:
        """From a welcome, which has verified it."""
        with self._lock:
            self._keep_box(frame)

    def _keep_box(self, frame: bytes) -> None:
        """For the next start, which begins with an older one otherwise and asks: no reason to stop now."""
        try:
            self._store.save_box(frame)
        except (SpokeError, OSError) as error:
            logger.warning("the hub's box key was not stored", extra={"why": str(error)})

    def _take(self, uplink: Uplink) -> None:
        held = uplink.trust
        chain = caught_up(held, self._source)
        self._adopt(uplink, chain)
        if uplink.trust_behind:
            raise Refused(Code.TRUST_GAP, f"the hub names a newer document than {chain.version}, and nobody gives it")

    def _adopt(self, uplink: Uplink, chain: TrustChain) -> None:
        if chain.version > uplink.trust.version:
            # Stored first: what is believed now is believed after a restart.
            self._store.save(chain)
            uplink.believe(chain)
            self._source.believe(chain.document)
            logger.info("trust updated", extra={"version": chain.version})
            self._when_updated()


def _nothing() -> None:
    """Where nobody waits for it."""

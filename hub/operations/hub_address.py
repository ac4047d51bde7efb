"""Whom the portal seals its intents to: the hub's box key of the day, believed by its certificate alone."""

import time
from collections.abc import Callable
from threading import Lock

from hub.operations.asking import Hub
from hub.storage.database import connection
from hub.storage.hub_keys import box_document
from hub.storage.hub_trust import installation, trust_chain
from wire.documents import BoxDocument

# Box keys change every month, and former ones open for a week: a minute's delay costs nothing.
_KEPT_S = 60.0


class HubAddress:
    """Callable; any thread. Reads the rows anew once a minute."""

    def __init__(self, clock_s: Callable[[], float] = time.time) -> None:
        self._clock_s = clock_s
        self._lock = Lock()
        self._known: Hub | None = None
        self._read_at = 0.0

    def __call__(self) -> Hub:
        """The hub as of now.

        Raises:
            Refused: the certificate is not the hub's, or is over. SealBroken: the trust documents do not hold.
        """
        with self._lock:
            now = self._clock_s()
            if self._known is None or now - self._read_at > _KEPT_S:
                self._known = _read(int(now))
                self._read_at = now
            return self._known


def _read(now_s: int) -> Hub:
    with connection():
        chain, hub_id = trust_chain(), installation().hub_id
        certificate = BoxDocument.open(box_document(), chain.directory(), now_s, hub_id)
    return Hub(hub_id, chain.document.epoch, certificate.box)

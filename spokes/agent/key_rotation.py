"""A spoke's own keys, replaced while it works: at any moment, killed anywhere, one key works that the hub knows.

    signing key   next one on disk > `rotate` under the present one > hello under the next > welcome: renamed over the
                  present one > first beat: the hub forgets the former one
    box key       new one on disk beside the former > hello names it > the former is erased when nothing needs it

The hub drops the present signing key at the first beat under the next, and that beat comes after the rename. So whoever
finds a next key on disk at the start knows that the hub still believes the present one, and announces the next again.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from spokes.agent.identity import IdentityStore
from spokes.agent.uplink import Uplink
from wire.errors import Refused
from wire.keys import BoxKey, SigningKey
from wire.rotation import rotation_to

logger = logging.getLogger(__name__)

BOX_AGE_S = 7 * 86_400
# A frame that was sealed before the hub heard of the new key is on its way no longer than this.
BOX_KEPT_S = 900
_LOOK_EVERY_S = 60.0
_SINCE = "box-since"


class Needs(Protocol):
    """Which commands are kept, sealed as they came."""

    def need(self, box: BoxKey) -> bool: ...


class KeyRotation:
    """Used by the service's thread, but for what is said to have been sent.

    Args:
        ask_anew: Has a hello sent soon.
        replaces_signing: Whether the signing key is replaced at all: a listening spoke shows it in its certificate.
        needs: Says which former box keys are still needed.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        store: IdentityStore,
        uplink: Uplink,
        needs: Needs,
        *,
        ask_anew: Callable[[], None],
        replaces_signing: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._uplink = uplink
        self._needs = needs
        self._ask_anew = ask_anew
        self._replaces_signing = replaces_signing
        self._clock = clock
        uplink.store_key = self._take_over
        self._next: SigningKey | None = store.next_signing()
        self._looked_s = 0.0
        self._named: BoxKey | None = None
        """The box key that the hub has heard of in this life."""

    def begin(self) -> None:
        """New keys of both kinds; the session goes on meanwhile."""
        self._new_box()
        if not self._replaces_signing:
            self._ask_anew()
            return
        if self._next is None:
            fresh = SigningKey.generate()
            self._store.save_next_signing(fresh)
            self._next = fresh
        logger.info("signing key is being replaced", extra={"kid": self._next.kid.hex()})
        self._announce()

    def unanswered(self) -> None:
        """A hello got no answer: the next one goes out under the present key, which the hub believes in any case."""
        self._uplink.say_hello_as(None)

    def welcomed(self) -> None:
        """A session is open: the hub has our box key's name, and hears again of a next signing key."""
        self._named = self._uplink.boxes[0]
        self._announce()

    def each_second(self) -> None:
        """Once a minute: a box key that is old is replaced, former ones that nothing needs are erased."""
        if self._clock() - self._looked_s < _LOOK_EVERY_S or not self._uplink.live:
            return
        self._looked_s = self._clock()
        now = self._uplink.now()
        since = self._since(now)
        if now - since >= BOX_AGE_S:
            self._new_box()
            self._ask_anew()
        self._erase_former(now)

    def _take_over(self) -> None:
        """The welcome answered a hello under the next key; nothing was sent under it yet but that."""
        self._store.take_over_next()
        self._next = None
        logger.info("signing key is replaced")

    def _announce(self) -> None:
        """Tell the hub of the next key; it is used as soon as the broker has that safe."""
        key = self._next
        if key is None or not self._uplink.live:
            return
        body = rotation_to(key, spoke_id=self._uplink.spoke_id, hub_id=self._uplink.hub_id)
        try:
            self._uplink.send(body).add_done_callback(lambda sent: self._announced(sent, key))
        except Refused as refusal:
            logger.warning("next signing key not announced", extra={"why": str(refusal)})

    def _announced(self, sent: "Future[None]", key: SigningKey) -> None:
        if sent.exception() is not None:
            logger.warning("next signing key not announced", extra={"why": str(sent.exception())})
            return
        self._uplink.say_hello_as(key)
        self._ask_anew()

    def _new_box(self) -> None:
        now, new = self._uplink.now(), BoxKey.generate()
        self._store.replace_box(new, now)
        self._store.remember(_SINCE, {"at": now})
        self._uplink.open_with((new, *self._uplink.boxes))
        logger.info("box key is replaced", extra={"kid": new.kid.hex()})

    def _since(self, now: int) -> int:
        known = self._store.recall(_SINCE)
        if known is not None and isinstance(known.get("at"), int):
            return int(known["at"])
        self._store.remember(_SINCE, {"at": now})
        return now

    def _erase_former(self, now: int) -> None:
        present = self._uplink.boxes[0]
        if self._named is not present:
            return
        for at, box in self._store.former_boxes().items():
            if box.kid == present.kid:
                self._store.erase_box(at)
            elif now - at >= BOX_KEPT_S and not self._needs.need(box):
                self._store.erase_box(at)
                self._uplink.open_with(tuple(one for one in self._uplink.boxes if one.kid != box.kid))
                logger.info("former box key is erased", extra={"kid": box.kid.hex()})

"""What time does to keys: rotates what is old, seals rows anew, retires what has had its time, renews the document.

One sweep does a little and may be repeated; a hub that was killed goes on where it was.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from hub.acting import Acting
from hub.events.record import SYSTEM, record
from hub.installation import DAY_S
from hub.states import HubKeyState
from hub.storage.database import connection, write_tx
from hub.storage.hub_keys import HUB_BOX
from hub.storage.hub_trust import trust_chain
from hub.storage.models import FormerKey, HubKey, TrustFrame
from hub.trust.following import retire
from hub.trust.publishing import Change, publish_trust, waiting_request
from hub.trust.resealing import Resealing
from hub.trust.rotation import KeyName, rotate
from hub.trust.runner_release import sign_anew_if_due
from hub.trust.telling import forget_orders
from wire.roles import Role
from wire.trust import TrustDocument

logger = logging.getLogger(__name__)

YEAR_S = 365 * DAY_S
BOX_AGE_S = 30 * DAY_S
# After this age a key is replaced by itself; the root is a person's business.
AGES_S: dict[KeyName, int] = {
    KeyName.BOX: BOX_AGE_S,
    KeyName.COMMAND: YEAR_S,
    KeyName.PORTAL: YEAR_S,
    KeyName.ROWS: YEAR_S,
    KeyName.RELEASE: YEAR_S,
    KeyName.AUDIT: YEAR_S,
}
RENEW_BEFORE_S = 60 * DAY_S
_AGES_EVERY_S = 600.0
_BATCHES = 20
# Other threads and processes may still hold a row that they sealed with the former key a moment ago.
_SETTLED_MS = 30_000


@dataclass(frozen=True, slots=True)
class UpkeepParts:
    """`itself` acts as the engine, at the moment of the call."""

    itself: Callable[[], Acting]
    recertify: Callable[[], object]


class Upkeep:
    """One thread calls `sweep`."""

    def __init__(self, parts: UpkeepParts, clock: Callable[[], float] = time.monotonic) -> None:
        self._parts = parts
        self._clock = clock
        self._looked_s: float | None = None
        self._version = 0
        self._resealing = Resealing(parts.itself().seals)

    def sweep(self) -> None:
        """Keep up with what other processes did, seal a batch of rows anew, and look at ages now and then."""
        with connection():
            acting = self._parts.itself()
            acting.seals.refresh()
            # Another process may have rotated keys since.
            newest = trust_chain().version
            if newest != self._version:
                self._version, self._looked_s = newest, None
            for _ in range(_BATCHES):
                if self.reseal(acting) == 0:
                    break
            if self._looked_s is None or self._clock() - self._looked_s >= _AGES_EVERY_S:
                self._looked_s = self._clock()
                self.look_at_ages(acting)

    def reseal(self, acting: Acting) -> int:
        """One batch, and with the last one the old rows key leaves the trust document."""
        old = [key.kid.hex() for key in trust_chain().document.trusted(Role.HUB_ROWS)]
        old = [kid for kid in old if kid != acting.seals.signer_kid]
        if not old:
            return 0
        done = self._resealing.step(old)
        if done == 0 and self._is_settled(acting) and waiting_request(acting) is None:
            with write_tx():
                publish_trust(acting, _without(old), reason="all rows are sealed anew")
            acting.seals.refresh()
        return done

    @staticmethod
    def _is_settled(acting: Acting) -> bool:
        newest: TrustFrame = TrustFrame.select(TrustFrame.issued_at).order_by(TrustFrame.version.desc()).get()
        return bool(acting.now_ms - newest.issued_at >= _SETTLED_MS)

    def look_at_ages(self, acting: Acting) -> None:
        """Everything that a date decides."""
        self._retire(acting)
        self._parts.recertify()
        if waiting_request(acting) is not None:
            # Whoever keeps the root has been asked; nothing more is asked meanwhile.
            due = [KeyName.BOX] if self._is_due(acting, KeyName.BOX) else []
        else:
            due = [name for name in AGES_S if self._is_due(acting, name)]
        for name in due:
            with write_tx():
                made = rotate(acting, name, reason="its age")
            logger.info("key rotated", extra={"key": str(name), "waits": made.published.sentence})
        sign_anew_if_due(acting)
        self._renew(acting)

    @staticmethod
    def _is_due(acting: Acting, name: KeyName) -> bool:
        row = HubKey.get_or_none((HubKey.role == name.role) & (HubKey.state == HubKeyState.ACTIVE))
        return row is not None and acting.now_ms - row.not_before > AGES_S[name] * 1000

    @staticmethod
    def _retire(acting: Acting) -> None:
        """Private halves of keys whose overlap has ended are erased."""
        ends = {key.kid: key.naf for key in trust_chain().document.keys}
        over = HubKey.select().where(HubKey.state == HubKeyState.PREVIOUS)
        for row in over:
            if row.role == Role.HUB_ROWS:
                continue
            ended = row.not_after <= acting.now_ms if row.role == HUB_BOX else _is_over(ends.get(row.kid), acting)
            if ended:
                with write_tx():
                    retire(acting.seals, row)
                    record("key.retire", f"hub-key:{row.kid}", actor=SYSTEM, detail={"role": row.role})
        with write_tx():
            FormerKey.delete().where(FormerKey.until < acting.now_ms).execute()
            forget_orders(acting.now_ms)

    @staticmethod
    def _renew(acting: Acting) -> None:
        """A document that nothing changes for a year is signed anew before it ends."""
        left_s = trust_chain().document.expires - acting.now_ms // 1000
        if left_s < RENEW_BEFORE_S and waiting_request(acting) is None:
            with write_tx():
                publish_trust(acting, _as_it_is, reason="it was about to end", anew=True)


def _is_over(naf_s: int | None, acting: Acting) -> bool:
    return naf_s is None or naf_s * 1000 <= acting.now_ms


def _without(kids: list[str]) -> Change:
    return lambda held: replace(held, keys=tuple(key for key in held.keys if key.kid not in kids))


def _as_it_is(held: TrustDocument) -> TrustDocument:
    return held

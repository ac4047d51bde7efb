"""Deliveries become messages of known spokes, or end in quarantine: the broker's word for nothing.

Outside of any transaction, for it is signatures and boxes that take time. Bad input is data: it never stops the loop.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from peewee import fn

from hub.orchestrator.parts import Carriers, EngineParts
from hub.orchestrator.quarantine import QuarantineRing
from hub.storage.models import Spoke
from wire.connection import Delivery
from wire.envelope import MessageType
from wire.errors import Code, Refused
from wire.exchange import Received, open_from_spoke
from wire.roles import FOR_EVER, KeyDirectory, Role, TrustedKey
from wire.topology import carried_key, is_relayed

_KEYS_KEPT_S = 1.0
_BEGINNINGS = frozenset({MessageType.HELLO, MessageType.ROTATE})


@dataclass(frozen=True, slots=True)
class Opened:
    """A message, and the delivery to answer for it."""

    delivery: Delivery
    received: Received

    @property
    def spoke(self) -> str:
        return self.received.signer.owner

    @property
    def cid(self) -> str:
        return self.received.header.cid


class Door:
    """Opens what a queue delivers."""

    def __init__(
        self, parts: EngineParts, quarantine: QuarantineRing, is_later: Callable[[str, int], bool] | None = None
    ) -> None:
        """`is_later`: whether a spoke's epoch is later than ours; told of every one that may be."""
        self._parts = parts
        self._is_later = is_later
        self._quarantine = quarantine
        self._keys = _RecentKeys(parts.keys)
        self._carriers = _RecentCarriers(parts.carriers)
        self._latest = _LatestTime()

    def open(self, deliveries: Sequence[Delivery]) -> list[Opened]:
        """Those that are what they should be, in order; the others are refused and need only be acknowledged."""
        if not deliveries:
            return []
        boxes = self._parts.boxes()
        hub_id = self._parts.trust().hub_id
        now_ms = self._parts.clock_ms()
        now_s, latest_s = now_ms // 1000, self._latest.ms(now_ms) // 1000
        opened: list[Opened] = []
        for delivery in deliveries:
            code = _distrust(delivery)
            if code is None:
                try:
                    received = open_from_spoke(delivery.body, self._keys, boxes, hub_id, now_s, latest_s=latest_s)
                    _check_key(received)
                    self._check_carrier(delivery, received.signer.owner)
                    self._check_epoch(received)
                except Refused as refusal:
                    code = refusal.code
                else:
                    opened.append(Opened(delivery, received))
                    continue
            self.refuse(delivery, code)
        return opened

    def _check_carrier(self, delivery: Delivery, spoke: str) -> None:
        """A relay brings what the spoke says whom it names, and only if it may carry for that one."""
        if not is_relayed(delivery.key):
            return
        key = carried_key(delivery.key)
        if key is None or key.spoke_id != spoke:
            raise Refused(Code.ENV_ISS, "a relay brought it as another's word")
        if not self._carriers.carries(key.relay_id, spoke):
            raise Refused(Code.ENV_POLICY, "this relay does not carry for that spoke")

    def _check_epoch(self, received: Received) -> None:
        """What is meant for a hub that took our place is not answered by us."""
        epoch = received.header.epo
        if self._is_later is not None and self._is_later(received.signer.owner, epoch):
            raise Refused(Code.ENV_EPOCH, f"epoch {epoch}, this hub lives in an earlier one")

    def forget_keys(self) -> None:
        """A spoke's trust has changed: what was looked up before does not count any more."""
        self._keys.forget()
        self._carriers.forget()

    def refuse(self, delivery: Delivery, code: Code | str) -> None:
        self._quarantine.add(delivery, str(code))


class _LatestTime:
    """The present as our clock would show it had it never been set back.

    Spokes go by the time of their welcome: when our clock is set back by minutes, all that they say would be from the
    future until they are welcomed anew, half a day later, and be lost.
    """

    def __init__(self) -> None:
        self._behind_ms: int | None = None

    def ms(self, now_ms: int) -> int:
        """`now_ms`: what the clock shows."""
        steady_ms = time.monotonic_ns() // 1_000_000
        if self._behind_ms is None:
            # It may have been set back while nobody served.
            seen_ms = Spoke.select(fn.MAX(Spoke.last_seen_at)).scalar() or 0
            self._behind_ms = seen_ms - steady_ms
        self._behind_ms = max(self._behind_ms, now_ms - steady_ms)
        return steady_ms + self._behind_ms


class _RecentKeys:
    """Signers looked up in the last second: a row a message would cost more than its signature.

    A revocation here empties it at once; one by another engine counts within the second.
    """

    def __init__(self, keys: KeyDirectory) -> None:
        self._keys = keys
        self._found: dict[tuple[bytes, Role], TrustedKey] = {}
        self._since = 0.0

    def key(self, kid: bytes, role: Role, at: int) -> TrustedKey:
        now = time.monotonic()
        if now - self._since > _KEYS_KEPT_S:
            self._found, self._since = {}, now
        found = self._found.get((kid, role))
        if found is None:
            kept = self._found
            found = self._keys.key(kid, role, at)
            # Into the table of before the look-up: if it was emptied meanwhile, this is not kept.
            kept[kid, role] = found
        return found

    def forget(self) -> None:
        self._found = {}


class _RecentCarriers:
    """Who carries for whom, looked up in the last second, as with keys."""

    def __init__(self, carriers: Carriers) -> None:
        self._carriers = carriers
        self._found: dict[tuple[str, str], bool] = {}
        self._since = 0.0

    def carries(self, relay_id: str, spoke_id: str) -> bool:
        now = time.monotonic()
        if now - self._since > _KEYS_KEPT_S:
            self._found, self._since = {}, now
        kept, pair = self._found, (relay_id, spoke_id)
        if pair not in kept:
            kept[pair] = self._carriers.carries(relay_id, spoke_id)
        return kept[pair]

    def forget(self) -> None:
        self._found = {}


def _check_key(received: Received) -> None:
    """A key that has an end was replaced: it finishes what it began, and begins nothing."""
    if received.kind in _BEGINNINGS and received.signer.naf != FOR_EVER:
        raise Refused(Code.ENV_KEY, "it was replaced by a newer key")


def _distrust(delivery: Delivery) -> Code | None:
    """What no honest sender does: CC or BCC headers, or a key under another's name."""
    if delivery.suspicious:
        return Code.ENV_POLICY
    if delivery.user_id != delivery.key.partition(".")[0]:
        return Code.ENV_ISS
    return None

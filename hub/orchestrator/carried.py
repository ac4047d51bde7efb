"""What only relays bring: enrolments of introduced spokes, and hints why a spoke is not reached.

A relay's word decides nothing. What it carries counts by the key that signed it, and only for spokes that it may
carry for; what it says itself is shown to people, and that is all.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from hub.infrastructure import unopened
from hub.infrastructure.display_names import shown
from hub.orchestrator.parts import EngineParts
from hub.orchestrator.quarantine import QuarantineRing
from hub.orchestrator.sessions import Sessions
from hub.storage.database import write_tx
from hub.storage.models import RelayHint, Spoke
from wire.connection import Delivery
from wire.envelope import verify_enrol
from wire.errors import Code, Refused
from wire.topology import CarriedKey, EventKind, carried_key

logger = logging.getLogger(__name__)

_HINT_BYTES = 2048
_REASONS = {
    "port-closed": "nothing listens there",
    "timeout": "no answer from there",
    "thumbprint-differs": "whoever answers there has another thumbprint",
    "refused-by-peer": "it refuses the relay's certificate: does it hold the newest trust document?",
    "not-a-spoke": "what answers there is no spoke",
    "proxy-refused": "the proxy between does not let the relay through",
    "connection-lost": "the connection broke off",
    "name-unknown": "the name of its address is not known",
}


@dataclass(frozen=True, slots=True)
class _Hint:
    is_up: bool
    reason: str


class Carried:
    """Takes out of the queues what is no spoke's own word; the rest is returned to whoever asked."""

    def __init__(self, parts: EngineParts, quarantine: QuarantineRing, sessions: Sessions) -> None:
        self._parts = parts
        self._quarantine = quarantine
        self._sessions = sessions

    def without_enrolments(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Those that are none; the enrolments are kept for the engine, or refused."""
        return [one for one in deliveries if not self._took(one, EventKind.ENROL)]

    def without_hints(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Those that are none; the hints are noted, or refused."""
        return [one for one in deliveries if not self._took(one, EventKind.HINT)]

    def _took(self, delivery: Delivery, kind: EventKind) -> bool:
        key = carried_key(delivery.key)
        if key is None or key.kind is not kind:
            return False
        try:
            if delivery.suspicious or delivery.user_id != key.user:
                raise Refused(Code.ENV_ISS, "the broker does not say that this relay published it")
            if kind is EventKind.ENROL:
                self._enrolment(key, delivery.body)
            else:
                self._hint(key, delivery.body)
        except Refused as refusal:
            self._quarantine.add(delivery, str(refusal.code))
        return True

    def _enrolment(self, key: CarriedKey, frame: bytes) -> None:
        verified = verify_enrol(frame)
        signer, sha256 = verified.signer.verify_key.pk, verified.frame_sha256
        if not self._parts.carriers.expects_frame(key.relay_id, key.spoke_id, signer, sha256):
            raise Refused(Code.ENV_POLICY, "nobody with that key was introduced there, or not to this relay")
        with write_tx():
            now_ms = self._parts.clock_ms()
            kept = unopened.keep(frame, sha256, source=f"relay:{key.relay_id}", now_ms=now_ms, again=True)
        if not kept:
            raise Refused(Code.JOIN_PENDING, "too many enrolments wait")

    def _hint(self, key: CarriedKey, body: bytes) -> None:
        own = key.spoke_id == key.relay_id
        carriers = self._parts.carriers
        if not (carriers.fleet_of_relay(key.relay_id) if own else carriers.carries(key.relay_id, key.spoke_id)):
            raise Refused(Code.ENV_POLICY, "it is no relay, or not that spoke's")
        hint = _read(body)
        with write_tx():
            now_ms = self._parts.clock_ms()
            Spoke.update(last_seen_at=now_ms).where(Spoke.id == key.relay_id).execute()
            if not own:
                self._note(key, hint, now_ms)

    def _note(self, key: CarriedKey, hint: _Hint, now_ms: int) -> None:
        RelayHint.delete().where(RelayHint.spoke == key.spoke_id).execute()
        up = "up" if hint.is_up else "down"
        RelayHint.create(spoke=key.spoke_id, relay=key.relay_id, up=up, reason=hint.reason, at=now_ms)
        self._sessions.explain(key.spoke_id, hint.reason or "a relay has reached it; it has not begun its session yet")


def _read(body: bytes) -> _Hint:
    """What a relay says, made fit to be shown.

    Raises:
        Refused: ENV_SCHEMA, it is no hint.
    """
    try:
        said = json.loads(body.decode("utf-8")) if len(body) <= _HINT_BYTES else None
    except (ValueError, RecursionError) as error:
        raise Refused(Code.ENV_SCHEMA, "a hint is JSON") from error
    state = said.get("state") if isinstance(said, dict) else None
    if not isinstance(said, dict) or state not in ("up", "down"):
        raise Refused(Code.ENV_SCHEMA, "a hint says up or down, and why")
    if state == "up":
        return _Hint(is_up=True, reason="")
    word, detail = said.get("reason"), said.get("detail")
    sentence = _REASONS.get(word, "it is not reached") if isinstance(word, str) else "it is not reached"
    more = f" ({shown(detail)})" if isinstance(detail, str) and detail else ""
    return _Hint(is_up=False, reason=sentence + more)

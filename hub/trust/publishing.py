"""The next trust document: made of the newest one by a change, signed by the root, in one transaction with its event.

    the root is in the hub       change -> signed -> in force at once, served by the gateway, spokes are told
    the root is offline          change -> a request waits for `manyarm key sign-trust`; more changes join it

Every version is kept: a spoke that slept for a year walks the chain.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hub.acting import Acting
from hub.errors import Conflict
from hub.events.record import record
from hub.states import HubKeyState
from hub.storage.hub_keys import signing_keys
from hub.storage.hub_trust import trust_chain
from hub.storage.models import TrustFrame, TrustRequest
from hub.trust.following import follow
from hub.trust.telling import tell_spokes
from wire import schema
from wire.documents import DocumentKind, countersigned, sign_document
from wire.errors import Code, Refused
from wire.keys import SigningKey
from wire.roles import Role
from wire.trust import VALID_MAX_S, DocumentKey, TlsPin, TrustChain, TrustDocument, check_document, read_trust

Change = Callable[[TrustDocument], TrustDocument]

SIGN_TRUST = (
    "the root key is offline: run `manyarm key sign-trust --root FILE` beside the hub to put trust document {version} "
    "in force"
)
_HELD = (HubKeyState.ACTIVE, HubKeyState.PENDING)
_THE_REQUEST = 1


@dataclass(frozen=True, slots=True)
class Published:
    """What became of a change: `sentence` is "" where the document is in force, else it says what somebody must do."""

    version: int
    sentence: str = ""

    @property
    def in_force(self) -> bool:
        return not self.sentence


def publish_trust(context: Acting, change: Change, *, reason: str, anew: bool = False, at_least: int = 0) -> Published:
    """Put the document that `change` makes of the newest one in force, or in line for the offline root.

    Inside the caller's `write_tx`; its event row comes with it. A change that changes nothing publishes nothing.

    Args:
        context: Who acts, and when.
        change: Gets the newest document, or the one that waits; version, dates and the link are set here.
        reason: For the event row, as people say it: "relay west-1 approved".
        anew: Also where nothing changes but the dates.
        at_least: The least version that it may have, for a hub that has forgotten the newest ones.

    Raises:
        Conflict: no receiver would take the document.
    """
    chain, request = trust_chain(), waiting_request(context)
    base = read_trust(bytes(request.frame)) if request is not None else chain.document
    changed = change(base)
    if changed == base and not anew:
        return Published(base.version, SIGN_TRUST.format(version=base.version) if request is not None else "")
    reasons = [*(request.reasons if request is not None else ()), reason]
    version = max(chain.version + 1, at_least, base.version if request is not None else 0)
    document = _following(changed, chain, version, context.now_ms // 1000)
    try:
        check_document(document)
    except Refused as refusal:
        raise Conflict(f"this would be no valid trust document: {refusal.detail}", code=refusal.code) from refusal
    frame = sign_document(DocumentKind.TRUST, schema.write_object(document), *_held_roots(context, chain, document))
    return enact(context, frame, reasons)


def enact(context: Acting, frame: bytes, reasons: Sequence[str]) -> Published:
    """Put a document in force if its signatures suffice, else keep it as the request that waits; inside `write_tx`.

    Raises:
        Conflict: it does not follow the newest version.
    """
    chain = trust_chain()
    try:
        longer = chain.update([frame])
    except Refused as refusal:
        if refusal.code not in {Code.TRUST_SIG, Code.TRUST_THRESHOLD}:
            raise Conflict(f"{refusal.code}: {refusal.detail}", code=refusal.code) from refusal
        return _wait_for_root(context, frame, reasons)
    if longer.version == chain.version:
        return Published(chain.version)
    return _put_in_force(context, chain, longer, frame, reasons)


def waiting_request(context: Acting) -> TrustRequest | None:
    """What waits for the offline root, as the engine has sealed it."""
    request: TrustRequest | None = TrustRequest.get_or_none(TrustRequest.id == _THE_REQUEST)
    if request is not None:
        context.seals.check(request)
        if hashlib.sha256(bytes(request.frame)).hexdigest() != request.sha256:
            raise Conflict("the trust document that waits was changed outside the hub", code="TRUST_MAC")
    return request


def completed(context: Acting, frame: bytes) -> bytes:
    """The frame with the signatures of those roots that the hub holds itself."""
    document = read_trust(frame)
    return countersigned(frame, *_held_roots(context, trust_chain(), document))


def with_pin(role: str, spki: str) -> Change:
    """One more TLS peer of that role (`relay`, `gateway`, `broker`) is believed."""
    pin = TlsPin(role, spki)
    return lambda held: held if pin in held.tls_pins else replace(held, tls_pins=(*held.tls_pins, pin))


def without_pin(role: str, spki: str) -> Change:
    pin = TlsPin(role, spki)
    return lambda held: replace(held, tls_pins=tuple(one for one in held.tls_pins if one != pin))


def _following(changed: TrustDocument, chain: TrustChain, version: int, now_s: int) -> TrustDocument:
    issued = max(now_s, chain.document.issued)
    return replace(
        changed,
        keys=_still_needed(changed, issued),
        hub=chain.document.hub,
        version=version,
        prev_sha256=chain.sha256,
        issued=issued,
        expires=issued + VALID_MAX_S,
    )


def _still_needed(document: TrustDocument, now_s: int) -> tuple[DocumentKey, ...]:
    """Without keys that have had their time and that others have replaced."""
    lasting = {key.role for key in document.keys if key.naf > now_s}
    return tuple(key for key in document.keys if key.naf > now_s or key.role not in lasting)


def _held_roots(context: Acting, chain: TrustChain, document: TrustDocument) -> list[SigningKey]:
    """Root keys in the hub that the old set or the new one names: both must agree where they differ."""
    named = {key.kid for key in (*chain.document.roots, *document.roots)}
    return [key for key in signing_keys(context.vault, Role.HUB_ROOT, _HELD) if key.kid in named]


def _wait_for_root(context: Acting, frame: bytes, reasons: Sequence[str]) -> Published:
    version = read_trust(frame).version
    request = TrustRequest(
        id=_THE_REQUEST,
        sha256=hashlib.sha256(frame).hexdigest(),
        frame=frame,
        reasons=list(reasons),
        created_at=context.now_ms,
    )
    TrustRequest.delete().execute()
    context.seals.seal(request)
    request.save(force_insert=True)
    sentence = SIGN_TRUST.format(version=version)
    record("trust.request", f"trust:{version}", actor=actor_of(context), detail={"reasons": list(reasons)})
    return Published(version, sentence)


def _put_in_force(
    context: Acting, before: TrustChain, longer: TrustChain, frame: bytes, reasons: Sequence[str]
) -> Published:
    row = TrustFrame(version=longer.version, sha256=longer.sha256, frame=frame, issued_at=context.now_ms)
    context.seals.seal(row)
    row.save(force_insert=True)
    TrustRequest.delete().execute()
    follow(context, longer.document)
    tell_spokes(context.now_ms)
    detail = {"reasons": list(reasons), "sha256": longer.sha256, "former": before.version}
    record("trust.publish", f"trust:{longer.version}", actor=actor_of(context), detail=detail)
    return Published(longer.version)


def actor_of(context: Acting) -> str:
    """As event rows name who acts: a person, or one of the hub's own parts."""
    by = context.caller.user_id
    return by if by in {"system", "console"} else f"user:{by}"

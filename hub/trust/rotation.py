"""A new key in place of an old one, while everything runs.

    new key (pending) -> trust document with both -> it takes over; the old one is valid for its overlap -> retired

Which key signs for which spoke is decided by the trust document that this spoke knows: none needs to be told first.
A box key is in no trust document: the command key certifies it, and the former one opens for a week.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from hub.acting import Acting
from hub.errors import Conflict, NotFound
from hub.events.record import record
from hub.infrastructure.box_certificate import certificate
from hub.installation import CLOCK_MARGIN_S, DAY_S, ROLE_KEY_DAYS, ROOT_KEY_DAYS
from hub.states import HubKeyState
from hub.storage.database import current_transaction
from hub.storage.hub_keys import HUB_BOX, new_hub_key, signing_key
from hub.storage.hub_trust import installation, trust_chain
from hub.storage.models import HubKey
from hub.trust.publishing import Change, Published, actor_of, publish_trust, waiting_request
from wire.exchange import TTL_MAX_S
from wire.keys import BoxKey, SigningKey
from wire.roles import Role
from wire.trust import DocumentKey, TrustDocument

OVERLAP_S = TTL_MAX_S + DAY_S
BOX_KEPT_DAYS = 7
_IN_USE = (HubKeyState.ACTIVE, HubKeyState.EXPORTED)


class KeyName(StrEnum):
    """The keys that can be rotated, as people type them."""

    COMMAND = "command"
    BOX = "box"
    PORTAL = "portal"
    ROWS = "rows"
    RELEASE = "release"
    AUDIT = "audit"
    ROOT = "root"

    @property
    def role(self) -> str:
        return f"hub-{self.value}"


@dataclass(frozen=True, slots=True)
class Rotated:
    """The new key, and what became of the trust document that names it."""

    kid: str
    published: Published


def rotate(context: Acting, name: KeyName, *, revoke: bool = False, reason: str = "") -> Rotated:
    """Make a new key of that name; inside `write_tx`.

    Args:
        context: Who acts, and when.
        name: Which.
        revoke: The old key counts no longer from now on, for somebody else may have it; nothing of its overlap is left.
        reason: For the event row.

    Raises:
        Conflict: one is waiting for the offline root already, or this key cannot be dropped at once.
    """
    if name is KeyName.BOX:
        return _rotate_box(context, revoke=revoke, reason=reason)
    if name is KeyName.ROWS and revoke:
        raise Conflict("rows are sealed by it: rotate it without revoking; the old one ends when all are sealed anew")
    role = Role(name.role)
    if HubKey.select().where(HubKey.role == role, HubKey.state == HubKeyState.PENDING).exists():
        request = waiting_request(context)
        waits = " and waits for `manyarm key sign-trust`" if request is not None else ""
        raise Conflict(f"a new {name} key was made already{waits}")
    key = SigningKey.generate()
    row = _new_row(context, role, key)
    words = f"{name} key {'replaced' if revoke else 'rotated'}" + (f": {reason}" if reason else "")
    published = publish_trust(context, _with_key(context, role, key, revoke=revoke), reason=words)
    if published.in_force:
        current_transaction().after_commit.append(context.seals.refresh)
    detail = {"role": role, "revoke": revoke, "reason": reason, "trust": published.version}
    record("key.rotate", f"hub-key:{row.kid}", actor=actor_of(context), detail=detail)
    return Rotated(row.kid, published)


def _new_row(context: Acting, role: Role, key: SigningKey) -> HubKey:
    days = ROOT_KEY_DAYS if role is Role.HUB_ROOT else ROLE_KEY_DAYS
    begins = context.now_ms - CLOCK_MARGIN_S * 1000
    row = new_hub_key(context.vault, role, key, not_before=begins, not_after=context.now_ms + days * DAY_S * 1000)
    row.state, row.created_at = HubKeyState.PENDING, context.now_ms
    context.seals.seal(row)
    row.save(force_insert=True)
    return row


def _with_key(context: Acting, role: Role, key: SigningKey, *, revoke: bool) -> Change:
    """The document that names the new key, and the old ones as long as they are still needed."""
    now_s = context.now_ms // 1000
    days = ROOT_KEY_DAYS if role is Role.HUB_ROOT else ROLE_KEY_DAYS
    fresh = DocumentKey.of(key.verify_key, role, nbf=now_s - CLOCK_MARGIN_S, naf=now_s + days * DAY_S)

    def change(held: TrustDocument) -> TrustDocument:
        others = tuple(one for one in held.keys if one.role is not role)
        olds = tuple(one for one in held.keys if one.role is role)
        if revoke or role is Role.HUB_ROOT:
            dropped = tuple(one.kid for one in olds) if revoke and role is not Role.HUB_ROOT else ()
            return replace(held, keys=(*others, fresh), revoked=(*held.revoked, *dropped))
        return replace(held, keys=(*others, *(_ending(one, now_s) for one in olds), fresh))

    return change


def _ending(key: DocumentKey, now_s: int) -> DocumentKey:
    """A key on its way out; a rows key until all is sealed anew, and what audit keys signed counts for ever."""
    if key.role in {Role.HUB_ROWS, Role.HUB_AUDIT}:
        return key
    return replace(key, naf=max(key.nbf + 1, min(key.naf, now_s + OVERLAP_S)))


def _rotate_box(context: Acting, *, revoke: bool, reason: str) -> Rotated:
    active = HubKey.get_or_none((HubKey.role == HUB_BOX) & (HubKey.state == HubKeyState.ACTIVE))
    if active is None:
        raise NotFound("the hub has no box key")
    kept_ms = 0 if revoke else BOX_KEPT_DAYS * DAY_S * 1000
    for row in HubKey.select().where(HubKey.role == HUB_BOX, HubKey.state.in_(list(_IN_USE))):
        row.state, row.not_after = HubKeyState.PREVIOUS, context.now_ms + kept_ms
        context.seals.seal(row)
        row.save()
    begins, box = context.now_ms - CLOCK_MARGIN_S * 1000, BoxKey.generate()
    fresh = new_hub_key(context.vault, HUB_BOX, box, not_before=begins, not_after=context.now_ms + 60 * DAY_S * 1000)
    fresh.created_at = context.now_ms
    signer = signing_key(context.vault, Role.HUB_COMMAND)
    fresh.document = certificate(fresh, signer, installation().hub_id, context.now_ms // 1000)
    context.seals.seal(fresh)
    fresh.save(force_insert=True)
    detail = {"role": HUB_BOX, "revoke": revoke, "reason": reason, "former": active.kid}
    record("key.rotate", f"hub-key:{fresh.kid}", actor=actor_of(context), detail=detail)
    return Rotated(fresh.kid, Published(trust_chain().version))

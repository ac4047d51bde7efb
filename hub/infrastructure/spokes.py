"""Spokes: who may take work. Approval and revocation decide here; hub/infrastructure/rollout.py carries them out."""

import secrets

from hub.acting import Acting
from hub.errors import Conflict, NotFound
from hub.infrastructure.targets import create_target
from hub.states import Health, SpokeKind, SpokeState
from hub.storage.models import RelayHint, Spoke, SpokeSession, Target
from hub.storage.seals import RowSeals
from hub.storage.vault import Vault
from hub.trust.publishing import publish_trust, with_pin, without_pin
from wire.errors import Refused
from wire.keys import parse_thumbprint, thumbprint
from wire.topology import Tenant, listening_tenant, relay_tenant, spoke_tenant

_PASSWORD_VERSION = 1  # A spoke's password is made once, with its approval.


def approve_spoke(context: Acting, spoke_id: str) -> tuple[Spoke, str]:
    """Trust a spoke whose thumbprint somebody has compared; its broker account and its answer follow by themselves.

    Returns:
        The spoke, and a sentence of what else somebody must do ("": nothing).
    """
    row = find_spoke(spoke_id)
    return row, trust(context, row)


def trust(context: Acting, row: Spoke) -> str:
    """Make a pending spoke a trusted one, with the target that its kind serves; of a relay, with its TLS pin.

    Returns:
        What else somebody must do: where the root key is offline, the pin waits for it.

    Raises:
        Conflict: it is not pending, or its target's name belongs to another one.
        SealBroken: the row was changed outside of the hub.
    """
    context.seals.check(row)
    if row.state != SpokeState.PENDING:
        raise Conflict(f"spoke {row.name!r} is {row.state}, not pending")
    row.state, row.approved_at, row.approved_by = SpokeState.TRUSTED, context.now_ms, context.caller.user_id
    row.broker_user, row.at_broker = tenant_of(row).user, True
    if row.broker_user:
        row.broker_password_sealed = context.vault.seal_field(
            "spoke", "broker_password_sealed", row.id, _PASSWORD_VERSION, secrets.token_urlsafe(32)
        )
    seal_and_save(context.seals, row)
    create_target(context.seals, row, row.wants.get("roles", []), row.wants.get("environments", []))
    if row.kind != SpokeKind.RELAY:
        return ""
    return publish_trust(context, with_pin("relay", row.tls_spki), reason=f"relay {row.name} approved").sentence


def revoke_spoke(context: Acting, spoke_id: str, reason: str = "") -> tuple[Spoke, str]:
    """Trust ends with this transaction; connections, queue and running work end right after it, in that order.

    Returns:
        The spoke, and a sentence of what else somebody must do ("": nothing).
    """
    row = find_spoke(spoke_id)
    if row.state == SpokeState.REVOKED:
        return row, ""
    was_trusted = row.state == SpokeState.TRUSTED
    row.state, row.revoked_at = SpokeState.REVOKED, context.now_ms
    row.version += 1
    context.seals.seal_end(row)
    row.save()
    SpokeSession.update(live=False).where(SpokeSession.spoke == row.id).execute()
    Target.update(
        health=Health.UNAVAILABLE, health_reason=reason or "its spoke is revoked", health_since=context.now_ms
    ).where(Target.spoke == row.id).execute()
    RelayHint.delete().where((RelayHint.spoke == row.id) | (RelayHint.relay == row.id)).execute()
    if row.kind != SpokeKind.RELAY or not was_trusted:
        return row, ""
    published = publish_trust(context, without_pin("relay", row.tls_spki), reason=f"relay {row.name} revoked")
    return row, published.sentence or _unreached()


def _unreached() -> str:
    """What it means that no relay is left, where that matters to somebody."""
    trusted = Spoke.select().where(Spoke.state == SpokeState.TRUSTED)
    if trusted.where(Spoke.kind == SpokeKind.RELAY).exists():
        return ""
    waiting = trusted.where(Spoke.kind == SpokeKind.LISTENING).count()
    return f"no relay is left: {waiting} listening spokes are not reached before one is approved" if waiting else ""


def tenant_of(row: Spoke) -> Tenant:
    """What the broker has for it."""
    match row.kind:
        case SpokeKind.LISTENING:
            return listening_tenant(row.id, row.fleet)
        case SpokeKind.RELAY:
            return relay_tenant(row.id, row.fleet)
        case _:
            return spoke_tenant(row.id)


def broker_password(vault: Vault, row: Spoke) -> str:
    """What a trusted spoke logs in with at the broker; "" for one that does not."""
    if not row.broker_user:
        return ""
    sealed = row.broker_password_sealed or ""
    return vault.open_field("spoke", "broker_password_sealed", row.id, _PASSWORD_VERSION, sealed).decode("ascii")


def thumbprint_of(row: Spoke) -> str:
    """To be compared, whole, with what `manyarm-spoke thumbprint` prints on the machine."""
    return thumbprint(bytes.fromhex(row.sign_pk))


def has_thumbprint(row: Spoke, typed: str) -> bool:
    """Whether somebody has typed its thumbprint, in whichever spelling."""
    try:
        return parse_thumbprint("".join(typed.split())) == parse_thumbprint(thumbprint_of(row))
    except Refused:
        return False


def find_spoke(spoke_id: str) -> Spoke:
    row: Spoke | None = Spoke.get_or_none(Spoke.id == spoke_id)
    if row is None:
        raise NotFound("no such spoke")
    return row


def forget_at_broker(seals: RowSeals, row: Spoke) -> None:
    """The broker has nothing of it any more."""
    if not seals.holds(row):
        # Altered since its revocation: it stays what nobody believes.
        Spoke.update(broker_password_sealed=None, at_broker=False).where(Spoke.id == row.id).execute()
        return
    row.broker_user, row.broker_password_sealed, row.at_broker = "", None, False
    seal_and_save(seals, row)


def seal_and_save(seals: RowSeals, row: Spoke) -> None:
    """After a change that somebody asked for: the version says that there was one."""
    row.version += 1
    seals.seal(row)
    row.save()

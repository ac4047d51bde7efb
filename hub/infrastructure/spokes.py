"""Spokes: who may take work. Approval and revocation decide here; hub/infrastructure/rollout.py carries them out."""

import secrets

from hub.acting import Acting
from hub.errors import Conflict, NotFound
from hub.infrastructure.targets import create_target
from hub.states import Health, SpokeState
from hub.storage.models import Spoke, SpokeSession, Target
from hub.storage.seals import RowSeals
from hub.storage.vault import Vault
from wire.keys import thumbprint
from wire.topology import spoke_user

_PASSWORD_VERSION = 1  # A spoke's password is made once, with its approval.


def approve_spoke(context: Acting, spoke_id: str) -> Spoke:
    """Trust a spoke whose thumbprint somebody has compared; its broker account and its answer follow by themselves."""
    return trust(find_spoke(spoke_id), context.caller.user_id, context.now_ms, context.vault, context.seals)


def trust(row: Spoke, by: str, now_ms: int, vault: Vault, seals: RowSeals) -> Spoke:
    """Make a pending spoke a trusted one, with the target that its kind serves.

    Raises:
        Conflict: it is not pending, or its target's name belongs to another one.
        SealBroken: the row was changed outside of the hub.
    """
    seals.check(row)
    if row.state != SpokeState.PENDING:
        raise Conflict(f"spoke {row.name!r} is {row.state}, not pending")
    row.state, row.approved_at, row.approved_by = SpokeState.TRUSTED, now_ms, by
    row.broker_user = spoke_user(row.id)
    row.broker_password_sealed = vault.seal_field(
        "spoke", "broker_password_sealed", row.id, _PASSWORD_VERSION, secrets.token_urlsafe(32)
    )
    _seal_and_save(seals, row)
    create_target(seals, row, row.wants.get("roles", []), row.wants.get("environments", []))
    return row


def revoke_spoke(context: Acting, spoke_id: str, reason: str = "") -> Spoke:
    """Trust ends with this transaction; connections, queue and running work end right after it, in that order."""
    row = find_spoke(spoke_id)
    if row.state == SpokeState.REVOKED:
        return row
    row.state, row.revoked_at = SpokeState.REVOKED, context.now_ms
    _seal_and_save(context.seals, row)
    SpokeSession.update(live=False).where(SpokeSession.spoke == row.id).execute()
    Target.update(
        health=Health.UNAVAILABLE, health_reason=reason or "its spoke is revoked", health_since=context.now_ms
    ).where(Target.spoke == row.id).execute()
    return row


def broker_password(vault: Vault, row: Spoke) -> str:
    """What a trusted spoke logs in with at the broker."""
    sealed = row.broker_password_sealed or ""
    return vault.open_field("spoke", "broker_password_sealed", row.id, _PASSWORD_VERSION, sealed).decode("ascii")


def thumbprint_of(row: Spoke) -> str:
    """To be compared, whole, with what `manyarm-spoke thumbprint` prints on the machine."""
    return thumbprint(bytes.fromhex(row.sign_pk))


def find_spoke(spoke_id: str) -> Spoke:
    row: Spoke | None = Spoke.get_or_none(Spoke.id == spoke_id)
    if row is None:
        raise NotFound("no such spoke")
    return row


def forget_broker_user(seals: RowSeals, row: Spoke) -> None:
    """The broker has no account for it any more."""
    row.broker_user, row.broker_password_sealed = "", None
    _seal_and_save(seals, row)


def _seal_and_save(seals: RowSeals, row: Spoke) -> None:
    row.version += 1
    seals.seal(row)
    row.save()

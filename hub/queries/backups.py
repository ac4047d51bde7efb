"""How old the newest backup is, and whether this hub came out of one."""

from dataclasses import dataclass

from hub.storage.hub_trust import installation, trust_chain
from hub.storage.models import Event


@dataclass(frozen=True, slots=True)
class Restored:
    """When, to the state of when, and whether the root has signed the epoch that began then; UTC milliseconds."""

    at: int
    since: int
    epoch: int
    in_force: bool


def newest_backup_ms() -> int | None:
    """When the newest backup was made that the audit log knows of."""
    found: Event | None = (
        Event.select(Event.at).where(Event.action == "backup.create").order_by(Event.seq.desc()).first()
    )
    return None if found is None else int(found.at)


def restored() -> Restored | None:
    """None where this hub has never been restored."""
    row = installation()
    if row.restored_at is None:
        return None
    in_force = trust_chain().document.epoch >= row.epoch
    return Restored(row.restored_at, row.forgot_since or row.restored_at, row.epoch, in_force)

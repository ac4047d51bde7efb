"""Whether what lies at the broker is of a time that the hub has forgotten, for it was put back to an earlier state."""

from hub.events.record import SYSTEM, record
from hub.storage.database import connection, write_tx
from hub.storage.hub_trust import installation
from hub.storage.models import Event

EMPTIED = "broker.emptied"


def is_broker_stale() -> bool:
    """Until `note_emptied` was called after the last restore."""
    with connection():
        restored_ms = installation().restored_at
        if restored_ms is None:
            return False
        return not Event.select().where(Event.action == EMPTIED, Event.at >= restored_ms).exists()


def note_emptied() -> None:
    """The mailboxes were emptied."""
    with write_tx():
        record(EMPTIED, "broker", actor=SYSTEM)

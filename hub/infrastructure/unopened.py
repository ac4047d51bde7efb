"""Enrolments that wait, unopened, for the engine: those that came in at the gateway and those that a relay brought."""

from hub.states import InboxKind, InboxState
from hub.storage.models import Enrolment, GatewayInbox

MOST = 1_000


def keep(frame: bytes, sha256: str, *, source: str, now_ms: int, most: int = MOST, again: bool = False) -> bool:
    """Whether there was room; the same frame twice is one. Inside `write_tx`.

    Args:
        again: Keep one that has its answer already, so that it is answered once more.
    """
    if not again and Enrolment.get_or_none(Enrolment.id == sha256) is not None:
        return True
    waiting = GatewayInbox.select().where(GatewayInbox.kind == InboxKind.ENROL, GatewayInbox.state == InboxState.NEW)
    if waiting.where(GatewayInbox.sha256 == sha256).exists():
        return True
    if waiting.count() >= most:
        return False
    GatewayInbox.create(
        kind=InboxKind.ENROL, sha256=sha256, body=frame, size=len(frame), source=source, received_at=now_ms
    )
    return True

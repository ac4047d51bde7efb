"""Renews the certificate of the hub's box key long before it ends, so that no spoke is ever without one."""

from hub.events.record import SYSTEM, record
from hub.states import HubKeyState
from hub.storage.database import write_tx
from hub.storage.hub_keys import HUB_BOX
from hub.storage.models import HubKey
from hub.storage.seals import RowSeals
from wire import canonical, schema
from wire.documents import BoxDocument, DocumentKind, split_document
from wire.keys import SigningKey

DAY_S = 86_400
VALID_S = 60 * DAY_S
RENEW_BEFORE_S = 30 * DAY_S


def renew_if_due(seals: RowSeals, command_key: SigningKey, hub_id: str, now_s: int) -> bool:
    """Whether a new certificate was made; the key stays the same."""
    row: HubKey | None = HubKey.get_or_none((HubKey.role == HUB_BOX) & (HubKey.state == HubKeyState.ACTIVE))
    if row is None or row.document is None:
        return False
    held = schema.read(BoxDocument, canonical.decode(split_document(bytes(row.document), DocumentKind.BOX).json))
    if held.expires - now_s > RENEW_BEFORE_S:
        return False
    fresh = BoxDocument.of(hub_id, held.box, issued=now_s, expires=now_s + VALID_S)
    with write_tx():
        row.document = fresh.sign(command_key)
        seals.seal(row)
        row.save()
        record("hub-key.certify", f"hub-key:{row.kid}", actor=SYSTEM, detail={"expires": fresh.expires})
    return True

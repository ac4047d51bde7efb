"""Renews the certificate of the hub's box key long before it ends, so that no spoke is ever without one."""

from hub.events.record import SYSTEM, record
from hub.states import HubKeyState
from hub.storage.database import write_tx
from hub.storage.hub_keys import HUB_BOX
from hub.storage.models import HubKey
from hub.storage.seals import RowSeals
from wire import canonical, schema
from wire.documents import BoxDocument, DocumentKind, split_document
from wire.keys import BoxPublicKey, SigningKey

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
    with write_tx():
        certify(seals, row, command_key, hub_id, now_s)
        record("hub-key.certify", f"hub-key:{row.kid}", actor=SYSTEM, detail={"expires": now_s + VALID_S})
    return True


def certify(seals: RowSeals, row: HubKey, command_key: SigningKey, hub_id: str, now_s: int) -> None:
    """Give a box key's row the certificate that gateway and welcomes show; inside `write_tx`."""
    row.document = certificate(row, command_key, hub_id, now_s)
    seals.seal(row)
    row.save()


def certificate(row: HubKey, command_key: SigningKey, hub_id: str, now_s: int) -> bytes:
    """The command key's word that this is the hub's box key."""
    box = BoxPublicKey.of(bytes.fromhex(row.public_key))
    return BoxDocument.of(hub_id, box, issued=now_s, expires=now_s + VALID_S).sign(command_key)

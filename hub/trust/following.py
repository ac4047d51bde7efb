"""The hub's own keys follow the trust document in force: what it names anew takes over, what it dropped is forgotten.

pending  --named-->  active  --another one takes over-->  previous  --no longer named-->  retired (private half gone)
"""

from hub.acting import Acting
from hub.infrastructure.box_certificate import certify
from hub.states import HubKeyState
from hub.storage.hub_keys import HUB_BOX, signing_key
from hub.storage.models import HubKey
from hub.storage.seals import RowSeals
from wire.roles import Role
from wire.trust import TrustDocument

_IN_USE = (HubKeyState.ACTIVE, HubKeyState.EXPORTED)


def follow(context: Acting, document: TrustDocument) -> None:
    """Bring the rows of keys in line with the document that has just come into force; inside its transaction."""
    named = {key.kid for key in document.keys if key.kid not in document.revoked}
    roles = {key.role for key in document.keys}
    for role in sorted(roles):
        taken_over = _take_over(context.seals, role, named)
        if taken_over and role is Role.HUB_COMMAND:
            _certify_boxes(context, document)
    for row in HubKey.select().where(HubKey.role.in_([str(role) for role in roles])):
        if row.kid not in named and row.state not in {HubKeyState.PENDING, HubKeyState.RETIRED}:
            retire(context.seals, row)


def retire(seals: RowSeals, row: HubKey) -> None:
    """It is nobody's key any more; its private half leaves the database."""
    row.private_sealed = None
    _set(seals, row, HubKeyState.RETIRED)


def _take_over(seals: RowSeals, role: Role, named: set[str]) -> bool:
    """The newest pending key that the document names becomes the active one; whether there was one."""
    rows = list(HubKey.select().where(HubKey.role == role).order_by(HubKey.not_before.desc(), HubKey.created_at.desc()))
    pending = [row for row in rows if row.state is HubKeyState.PENDING and row.kid in named]
    if not pending:
        return False
    for row in rows:
        if row.state in _IN_USE:
            _set(seals, row, HubKeyState.PREVIOUS)
    _set(seals, pending[0], HubKeyState.ACTIVE)
    return True


def _certify_boxes(context: Acting, document: TrustDocument) -> None:
    """The box key of the day is certified by the command key of the day."""
    signer = signing_key(context.vault, Role.HUB_COMMAND)
    for row in HubKey.select().where(HubKey.role == HUB_BOX, HubKey.state == HubKeyState.ACTIVE):
        certify(context.seals, row, signer, document.hub, context.now_ms // 1000)


def _set(seals: RowSeals, row: HubKey, state: HubKeyState) -> None:
    row.state = state
    seals.seal(row)
    row.save()

"""The hub's own keys, as people see them: never a private half."""

from hub.operations.body import Reply
from hub.queries.listing import at_text, time_text
from hub.storage.hub_trust import trust_chain
from hub.storage.models import HubKey, TrustRequest
from wire.keys import thumbprint
from wire.trust import read_trust


class KeyView(Reply):
    """`state`: pending, active, previous, retired, exported. `held`: whether its private half is in the hub."""

    id: str
    role: str
    state: str
    thumbprint: str
    held: bool
    begins: str
    ends: str


class WaitingView(Reply):
    """A trust document that waits for the offline root, and why it was made."""

    version: int
    reasons: list[str]


class KeysView(Reply):
    trust_version: int
    trust_ends: str
    waiting: WaitingView | None
    keys: list[KeyView]


def keys() -> KeysView:
    document = trust_chain().document
    ends = {key.kid: key.naf * 1000 for key in document.keys}
    rows = HubKey.select().order_by(HubKey.role, HubKey.not_before)
    return KeysView(
        trust_version=document.version,
        trust_ends=time_text(document.expires * 1000),
        waiting=_waiting(),
        keys=[_view(row, ends.get(row.kid, row.not_after)) for row in rows],
    )


def _waiting() -> WaitingView | None:
    request: TrustRequest | None = TrustRequest.get_or_none()
    if request is None:
        return None
    return WaitingView(version=read_trust(bytes(request.frame)).version, reasons=list(request.reasons))


def _view(row: HubKey, ends_ms: int) -> KeyView:
    return KeyView(
        id=row.kid,
        role=row.role,
        state=str(row.state),
        thumbprint=thumbprint(bytes.fromhex(row.public_key)),
        held=row.private_sealed is not None,
        begins=time_text(row.not_before),
        ends=at_text(ends_ms) or "",
    )

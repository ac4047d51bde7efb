"""Which command key a spoke knows: after a rotation the former one goes on signing for those who have not heard."""

from hub.infrastructure.box_certificate import certificate
from hub.orchestrator.parts import FormerCommand
from hub.states import HubKeyState
from hub.storage.hub_keys import HUB_BOX, signing_keys
from hub.storage.models import HubKey
from hub.storage.vault import Vault
from wire.roles import Role
from wire.trust import TrustChain


def former_command(vault: Vault, chain: TrustChain, present_kid: bytes, now_s: int) -> FormerCommand | None:
    """The newest command key before the present one, while the document in force still names it."""
    named = {key.kid for key in chain.document.trusted(Role.HUB_COMMAND) if key.is_valid(now_s)}
    for key in signing_keys(vault, Role.HUB_COMMAND, [HubKeyState.PREVIOUS]):
        if key.kid in named:
            # Rows are read one after another: a key that this chain does not name yet, nobody knows.
            until = chain.known_since(present_kid) or chain.version + 1
            box = HubKey.get((HubKey.role == HUB_BOX) & (HubKey.state == HubKeyState.ACTIVE))
            return FormerCommand(key, until, certificate(box, key, chain.document.hub, now_s).hex())
    return None

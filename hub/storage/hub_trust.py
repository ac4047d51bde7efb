"""The trust chain as stored, verified from the root that this hub was installed with; row seals follow from it."""

import hashlib
from functools import lru_cache

from hub.errors import KeyringDamaged, NotFound, SealBroken
from hub.storage.database import connection
from hub.storage.hub_keys import signing_key
from hub.storage.models.keyring import Installation, TrustFrame
from hub.storage.prepared import Prepared, PreparedRows, hole
from hub.storage.seals import Keys, RowSeals
from hub.storage.vault import Purpose, Vault
from wire.errors import Refused
from wire.keys import SigningKey, VerifyKey
from wire.roles import Role
from wire.trust import TrustChain

EPOCH_WAITS = (
    "the hub was restored, and its new epoch waits for the root key: run `manyarm key sign-trust --root FILE` beside it"
)

_ROOT = ("root-thumbprint",)

_INSTALLATION = PreparedRows(Installation, lambda: Installation.select().where(Installation.id == hole("id")))
_FRAMES = Prepared(lambda: TrustFrame.select(TrustFrame.frame).order_by(TrustFrame.version))


def installation() -> Installation:
    """The one row; NotFound where no hub is installed."""
    row = _INSTALLATION.one(id=1)
    if row is None:
        raise NotFound("no hub is installed: run `manyarm init` first", code="NOT_INSTALLED")
    return row


def hub_epoch() -> int:
    """In which epoch this hub lives; the trust document says it too, once the root has signed that one."""
    return max(int(installation().epoch), trust_chain().document.epoch)


def seal_root(vault: Vault, root_thumbprint: str) -> bytes:
    return vault.seal_block(Purpose.SESSION, _ROOT, bytes.fromhex(root_thumbprint))


def trust_chain() -> TrustChain:
    """All trust documents, verified from the installation's root thumbprint.

    Raises:
        SealBroken: the chain does not hold.
    """
    root = bytes.fromhex(installation().root_thumbprint)
    frames = tuple(bytes(frame) for (frame,) in _FRAMES.tuples())
    try:
        return _verified(root, frames)
    except Refused as refusal:
        raise SealBroken(f"the stored trust documents do not hold: {refusal.code} {refusal.detail}") from refusal


# Asked for with each intent and each welcome; the same bytes under the same root verify alike.
@lru_cache(maxsize=4)
def _verified(root: bytes, frames: tuple[bytes, ...]) -> TrustChain:
    return TrustChain.from_root(root, frames)


def load_seals(vault: Vault) -> RowSeals:
    """Row seals as this process may use them: the engine signs, engine and portal check.

    Raises:
        SealBroken: the trust documents were altered, or are another hub's.
    """
    row = installation()
    if (
        vault.holds(Purpose.SESSION)
        and vault.open_block(Purpose.SESSION, _ROOT, row.root_sealed).hex() != row.root_thumbprint
    ):
        raise SealBroken("the installation names another root key than it was installed with")
    trusted, signing = _row_keys(vault)
    return RowSeals(*trusted, signing=signing, look_up=lambda: _row_keys(vault))


def audit_keys() -> list[VerifyKey]:
    """Whose checkpoints count: every audit key that was ever named, for old checkpoints keep their signatures."""
    return list(trust_chain().ever(Role.HUB_AUDIT))


def joining_root() -> bytes:
    """SHA-256 of the root key that new join codes name: the present one, whatever this hub was installed with."""
    return hashlib.sha256(trust_chain().document.roots[0].pk).digest()


def _row_keys(vault: Vault) -> Keys:
    with connection():
        trusted = [key.verify_key for key in trust_chain().document.trusted(Role.HUB_ROWS)]
        return trusted, _row_signer(vault, trusted)


def _row_signer(vault: Vault, trusted: list[VerifyKey]) -> SigningKey | None:
    if not vault.holds(Purpose.HUBKEYS):
        return None
    signer = signing_key(vault, Role.HUB_ROWS)
    if signer.verify_key not in trusted:
        raise KeyringDamaged("the hub-rows key is not the one that the trust document names")
    return signer

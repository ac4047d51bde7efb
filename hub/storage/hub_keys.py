"""The hub's own key pairs as rows: made once, sealed for the class of process that uses them, read back as objects."""

import hashlib
from collections.abc import Iterable
from functools import lru_cache

from hub.errors import KeyringDamaged, NotFound
from hub.states import HubKeyState
from hub.storage.models.keyring import HubKey
from hub.storage.prepared import PreparedRows, hole
from hub.storage.vault import Purpose, Vault
from wire.keys import BoxKey, SigningKey, VerifyKey
from wire.roles import Role

HUB_BOX = "hub-box"
TLS_GATEWAY = "tls-gateway"
TLS_BROKER = "tls-broker"

_PURPOSE: dict[str, Purpose] = {Role.HUB_PORTAL: Purpose.PORTAL_KEY, TLS_GATEWAY: Purpose.GATEWAY_KEY}
# An Ed25519 public key as X.509 spells it (RFC 8410): always these bytes, then the key.
_SPKI_HEAD = bytes.fromhex("302a300506032b6570032100")

# Of a role there are a few, the newest first.
_KEYS = PreparedRows(
    HubKey, lambda: HubKey.select().where(HubKey.role == hole("role")).order_by(HubKey.not_before.desc())
)


def purpose_of(role: str) -> Purpose:
    """Which data key seals the private half of that role: it decides who can open it."""
    return _PURPOSE.get(role, Purpose.HUBKEYS)


def new_hub_key(vault: Vault, role: str, key: SigningKey | BoxKey, *, not_before: int, not_after: int) -> HubKey:
    """The row of a fresh key; the caller seals and inserts it. Times in UTC milliseconds."""
    if isinstance(key, BoxKey):
        kid, public, private = key.kid, key.public.pk, key.secret
    else:
        kid, public, private = key.kid, key.verify_key.pk, key.seed
    sealed = vault.seal_block(purpose_of(role), ("hub-key", role, kid.hex()), private)
    return HubKey(
        kid=kid.hex(),
        role=str(role),
        public_key=public.hex(),
        private_sealed=sealed,
        not_before=not_before,
        not_after=not_after,
    )


def signing_key(vault: Vault, role: str) -> SigningKey:
    """The active signing key of a role (or the key of a TLS role).

    Raises:
        NotFound: there is none, or its private half was exported.
        NotAllowed: this class of process may not open it.
        KeyringDamaged: the row does not match its private half.
    """
    row = _active(role)
    if row is None or row.private_sealed is None:
        raise NotFound(f"the hub holds no {role} key" + (": it was exported" if row is not None else ""))
    return _signing(_private(vault, row), row.public_key, row.kid)


def signing_keys(vault: Vault, role: str, states: Iterable[HubKeyState]) -> list[SigningKey]:
    """All keys of a role whose private half is here, newest first."""
    wanted = set(states)
    rows = [row for row in _KEYS.all(role=role) if row.state in wanted and row.private_sealed is not None]
    return [_signing(_private(vault, row), row.public_key, row.kid) for row in rows]


def box_keys(vault: Vault) -> tuple[BoxKey, ...]:
    """The hub's box keys: the active one first, then previous ones that still open what is under way."""
    opening = {HubKeyState.ACTIVE, HubKeyState.PREVIOUS}
    usable = [row for row in _KEYS.all(role=HUB_BOX) if row.state in opening and row.private_sealed is not None]
    rows: list[HubKey] = sorted(usable, key=lambda row: row.state is not HubKeyState.ACTIVE)
    return tuple(_box(_private(vault, row), row.public_key, row.kid) for row in rows)


def box_document() -> bytes:
    """The certificate (MAD1 box) of the active box key, as the gateway serves it; no private key is needed."""
    row = _active(HUB_BOX)
    if row is None or row.document is None:
        raise NotFound("the hub's box key carries no certificate")
    return bytes(row.document)


def public_keys(
    role: str, states: Iterable[HubKeyState] = (HubKeyState.ACTIVE, HubKeyState.PREVIOUS)
) -> list[VerifyKey]:
    """Public halves by role, from rows alone: fit for what the trust document does not name."""
    rows = HubKey.select(HubKey.public_key).where(HubKey.role == role, HubKey.state.in_(list(states)))
    return [VerifyKey.of(bytes.fromhex(row.public_key)) for row in rows]


def spki_sha256(public_key: bytes) -> str:
    """What a TLS peer pins of an Ed25519 key."""
    return hashlib.sha256(_SPKI_HEAD + public_key).hexdigest()


def _active(role: str) -> HubKey | None:
    used = {HubKeyState.ACTIVE, HubKeyState.EXPORTED}
    return next((row for row in _KEYS.all(role=role) if row.state in used), None)


def _private(vault: Vault, row: HubKey) -> bytes:
    return vault.open_block(purpose_of(row.role), ("hub-key", row.role, row.kid), row.private_sealed)


# Making a key object costs a point multiplication, so the few there are stay.
@lru_cache(maxsize=32)
def _signing(seed: bytes, public_key: str, kid: str) -> SigningKey:
    key = SigningKey.from_seed(seed)
    if key.verify_key.pk.hex() != public_key:
        raise KeyringDamaged(f"hub key {kid}: its public half was exchanged; restore it from a backup")
    return key


@lru_cache(maxsize=32)
def _box(secret: bytes, public_key: str, kid: str) -> BoxKey:
    key = BoxKey.from_bytes(secret)
    if key.public.pk.hex() != public_key:
        raise KeyringDamaged(f"hub key {kid}: its public half was exchanged; restore it from a backup")
    return key

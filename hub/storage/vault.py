"""What is sealed at rest, and by whom it can be opened.

    master key ── HKDF ──> one key-encryption key for each class of process ── wraps ──> data keys, by purpose

    engine    everything
    portal    content, chunk-id, session, and its own signing key
    gateway   capability, and its own TLS key

A process is handed its class's key alone, so what it may not open it cannot open. Each ciphertext is bound to the place
where it lies: moved to another row, column, version or object it does not open.
"""

import base64
import binascii
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, Self

import nacl.bindings
import nacl.exceptions
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from hub.errors import FieldDamaged, KeyringDamaged, NotAllowed
from hub.states import DataKeyState
from wire.chunks_sealed import ChunkKeys

KEY_SIZE = 32
NONCE_SIZE = 24
TAG_SIZE = 16

_FIELD_MARK = "e1"
_BLOCK_MARK = b"B1"
_ID_SIZE = 16


class ProcessClass(StrEnum):
    ENGINE = "engine"
    PORTAL = "portal"
    GATEWAY = "gateway"


class Purpose(StrEnum):
    FIELD = "field"
    CONTENT = "content"
    SESSION = "session"
    AUDIT = "audit"
    HUBKEYS = "hubkeys"
    CHUNK_ID = "chunk-id"
    CAPABILITY = "capability"
    PORTAL_KEY = "portal-key"
    GATEWAY_KEY = "gateway-key"


HOLDERS: dict[Purpose, tuple[ProcessClass, ...]] = {
    Purpose.FIELD: (ProcessClass.ENGINE,),
    Purpose.CONTENT: (ProcessClass.ENGINE, ProcessClass.PORTAL),
    Purpose.SESSION: (ProcessClass.ENGINE, ProcessClass.PORTAL),
    Purpose.AUDIT: (ProcessClass.ENGINE,),
    Purpose.HUBKEYS: (ProcessClass.ENGINE,),
    Purpose.CHUNK_ID: (ProcessClass.ENGINE, ProcessClass.PORTAL),
    Purpose.CAPABILITY: (ProcessClass.ENGINE, ProcessClass.GATEWAY),
    Purpose.PORTAL_KEY: (ProcessClass.ENGINE, ProcessClass.PORTAL),
    Purpose.GATEWAY_KEY: (ProcessClass.ENGINE, ProcessClass.GATEWAY),
}


class WrappedKey(Protocol):
    """A row of the keyring, as far as the vault reads it."""

    dek_id: str
    purpose: str
    cls: str
    state: str
    wrapped: bytes


@dataclass(frozen=True, slots=True)
class Kek:
    """The key of one class of process, which wraps its data keys."""

    cls: ProcessClass
    key: bytes = field(repr=False)
    mk_check: str = ""  # Of the master key that it came from, where that is known.

    @classmethod
    def derive(cls, master_key: bytes, process_class: ProcessClass | str, mk_check: str = "") -> Self:
        chosen = ProcessClass(process_class)
        return cls(chosen, derive_key(master_key, b"manyarm/v1/kek", chosen), mk_check)

    def wrap(self, dek_id: str, purpose: str, key: bytes) -> bytes:
        return seal_bytes(self.key, length_prefixed("manyarm/v1/dek", dek_id, purpose, self.cls), key)

    def unwrap(self, dek_id: str, purpose: str, wrapped: bytes) -> bytes:
        """The data key.

        Raises:
            KeyringDamaged: the row was altered, moved, or made under another key.
        """
        key = open_sealed(self.key, length_prefixed("manyarm/v1/dek", dek_id, purpose, self.cls), bytes(wrapped))
        if key is None or len(key) != KEY_SIZE:
            raise KeyringDamaged(
                f"the master key fits, but data key {dek_id} ({purpose}, for the {self.cls}) does not open: "
                "restore the keyring table from a backup"
            )
        return key


@dataclass(frozen=True, slots=True)
class DataKeyring:
    """The opened data keys of one purpose: the active one seals, all of them open."""

    active_id: str
    keys: dict[str, bytes] = field(repr=False)

    @property
    def active(self) -> bytes:
        return self.keys[self.active_id]


class Vault:
    """Seals and opens what lies in the database and in files, with the data keys of one class of process."""

    def __init__(self, cls: ProcessClass, keyrings: dict[str, DataKeyring]) -> None:
        self.cls = cls
        self._keyrings = keyrings

    @classmethod
    def open(cls, kek: Kek, rows: Iterable[WrappedKey]) -> Self:
        """Unwrap all data keys of the class.

        Raises:
            KeyringDamaged: one does not open, or one that the class should have is missing.
        """
        active: dict[str, str] = {}
        keys: dict[str, dict[str, bytes]] = {}
        for row in rows:
            if row.cls != kek.cls or row.state == DataKeyState.RETIRED:
                continue
            keys.setdefault(row.purpose, {})[row.dek_id] = kek.unwrap(row.dek_id, row.purpose, row.wrapped)
            if row.state == DataKeyState.ACTIVE:
                active[row.purpose] = row.dek_id
        missing = [purpose for purpose, classes in HOLDERS.items() if kek.cls in classes and purpose not in active]
        if missing:
            raise KeyringDamaged(
                f"the keyring holds no active data key for {', '.join(missing)}: "
                "it was half written or altered; restore the keyring table from a backup"
            )
        return cls(kek.cls, {purpose: DataKeyring(active[purpose], found) for purpose, found in keys.items()})

    def holds(self, purpose: str) -> bool:
        return purpose in self._keyrings

    def seal_field(self, table: str, column: str, row_id: str, version: int, plaintext: bytes | str) -> str:
        """The text for a column; `version` grows with each new value, so that an older one does not open again."""
        keyring = self.keyring(Purpose.FIELD)
        content = plaintext.encode("utf-8", "surrogatepass") if isinstance(plaintext, str) else plaintext
        sealed = seal_bytes(keyring.active, _field_place(table, column, row_id, version), content)
        return f"{_FIELD_MARK}:{keyring.active_id}:{_to_text(sealed)}"

    def open_field(self, table: str, column: str, row_id: str, version: int, sealed: str) -> bytes:
        """The plaintext.

        Raises:
            FieldDamaged: the ciphertext was altered, is an older one, or belongs elsewhere.
        """
        place = f"{table}.{column} of {row_id}"
        mark, _, rest = sealed.partition(":")
        dek_id, _, text = rest.partition(":")
        key = self.keyring(Purpose.FIELD).keys.get(dek_id)
        content = _from_text(text)
        if mark != _FIELD_MARK or key is None or content is None:
            raise FieldDamaged(f"{place}: the sealed value is malformed, or its key is not in the keyring")
        plaintext = open_sealed(key, _field_place(table, column, row_id, version), content)
        if plaintext is None:
            raise FieldDamaged(f"{place}: the sealed value was altered, is out of date, or belongs elsewhere")
        return plaintext

    def seal_block(self, purpose: Purpose | str, context: tuple[str, ...], plaintext: bytes) -> bytes:
        """Bytes for a row's blob, bound to the context that says where it lies."""
        keyring = self.keyring(purpose)
        place = length_prefixed("manyarm/v1/block", purpose, *context)
        return _BLOCK_MARK + bytes.fromhex(keyring.active_id) + seal_bytes(keyring.active, place, plaintext)

    def open_block(self, purpose: Purpose | str, context: tuple[str, ...], sealed: bytes) -> bytes:
        """The plaintext; FieldDamaged as for a field."""
        sealed = bytes(sealed)
        head = len(_BLOCK_MARK)
        key = self.keyring(purpose).keys.get(sealed[head : head + _ID_SIZE].hex())
        if not sealed.startswith(_BLOCK_MARK) or key is None:
            raise FieldDamaged(f"{' '.join(context)}: the sealed block is malformed, or its key is not in the keyring")
        place = length_prefixed("manyarm/v1/block", purpose, *context)
        plaintext = open_sealed(key, place, sealed[head + _ID_SIZE :])
        if plaintext is None:
            raise FieldDamaged(f"{' '.join(context)}: the sealed block was altered or belongs elsewhere")
        return plaintext

    def chunk_keys(self) -> ChunkKeys:
        """What chunks are named and sealed with; they are content, shared by all versions, so always the active key."""
        return ChunkKeys(self.keyring(Purpose.CHUNK_ID).active, self.keyring(Purpose.CONTENT).active)

    def capability_key(self) -> bytes:
        """The MAC key by which the gateway knows the capabilities that the engine gave out."""
        return self.keyring(Purpose.CAPABILITY).active

    def keyring(self, purpose: Purpose | str) -> DataKeyring:
        """The opened keys of a purpose.

        Raises:
            NotAllowed: this class of process does not have them.
        """
        found = self._keyrings.get(purpose)
        if found is None:
            raise NotAllowed(f"the {self.cls} holds no key for {purpose}", code="KEY_NOT_HELD")
        return found


def new_data_keys(keks: dict[ProcessClass, Kek]) -> list[dict[str, object]]:
    """Rows for a fresh keyring: one data key a purpose, wrapped once for each class that needs it."""
    rows: list[dict[str, object]] = []
    for purpose, classes in HOLDERS.items():
        dek_id, key = os.urandom(_ID_SIZE).hex(), os.urandom(KEY_SIZE)
        rows += [
            {
                "dek_id": dek_id,
                "purpose": str(purpose),
                "cls": str(cls),
                "state": DataKeyState.ACTIVE,
                "wrapped": keks[cls].wrap(dek_id, purpose, key),
                "mk_check": keks[cls].mk_check,
            }
            for cls in classes
        ]
    return rows


def length_prefixed(*parts: str | bytes) -> bytes:
    """Each part as u32 length and bytes: no two lists of parts give the same bytes."""
    encoded = (part.encode() if isinstance(part, str) else part for part in parts)
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)


def derive_key(key: bytes, *info: str | bytes, salt: bytes | None = None) -> bytes:
    return HKDF(SHA256(), KEY_SIZE, salt, length_prefixed(*info)).derive(key)


def key_check(master_key: bytes) -> str:
    """Tells two master keys apart without telling anything about them."""
    return hashlib.blake2b(key=master_key, person=b"manyarm-mkcheck", digest_size=32).hexdigest()


def _field_place(table: str, column: str, row_id: str, version: int) -> bytes:
    return length_prefixed("manyarm/v1/field", table, column, row_id, str(version))


def seal_bytes(key: bytes, place: bytes, plaintext: bytes) -> bytes:
    """Nonce, ciphertext and tag, bound to the place."""
    # 24 random bytes never meet twice in any number of encryptions that we shall see; 12 would.
    nonce = os.urandom(NONCE_SIZE)
    return nonce + nacl.bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(plaintext, place, nonce, key)


def open_sealed(key: bytes, place: bytes, sealed: bytes) -> bytes | None:
    """The plaintext; None: altered, moved, or under another key."""
    if len(sealed) < NONCE_SIZE + TAG_SIZE:
        return None
    try:
        return nacl.bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            sealed[NONCE_SIZE:], place, sealed[:NONCE_SIZE], key
        )
    except (nacl.exceptions.CryptoError, ValueError, TypeError):
        return None


def _to_text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode("ascii").rstrip("=")


def _from_text(text: str) -> bytes | None:
    try:
        content = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    # Spare bits and skipped characters are second spellings: only what we would write is read.
    return content if _to_text(content) == text else None

"""Key pairs, key ids and thumbprints: the one door to Ed25519 and X25519.

A public key is checked once, when it is made into an object here; whoever holds a `VerifyKey` or a `BoxPublicKey`
holds a sound one. Keep the objects: building one costs more than using it.
"""

import base64
import binascii
import hashlib
import re
import secrets
from functools import lru_cache
from typing import Self

import nacl.bindings
import nacl.exceptions
import nacl.public
import nacl.signing

from wire.errors import Code, Refused

KID_SIZE = 16
KEY_SIZE = 32
SIGNATURE_SIZE = 64
WRAP_SIZE = 80

_SIGN_TAG = b"manyarm/v1/kid\0ed25519\0"
_BOX_TAG = b"manyarm/v1/kid\0x25519\0"
_THUMBPRINT = re.compile(r"SHA256:([a-z2-7]{52}|[a-z2-7]{4}(?:-[a-z2-7]{4}){12})")
_ANY_SCALAR = b"\1" * KEY_SIZE


def new_id() -> str:
    return secrets.token_hex(16)


def kid_of(pk: bytes) -> bytes:
    return hashlib.sha256(_SIGN_TAG + pk).digest()[:KID_SIZE]


def thumbprint(pk: bytes) -> str:
    """The whole SHA-256 of a public key as people compare it: `SHA256:abcd-efgh-…`, 52 letters."""
    return thumbprint_of_digest(hashlib.sha256(pk).digest())


def thumbprint_of_digest(digest: bytes) -> str:
    letters = base64.b32encode(digest).decode("ascii").rstrip("=").lower()
    return "SHA256:" + "-".join(letters[at : at + 4] for at in range(0, len(letters), 4))


def parse_thumbprint(text: str) -> bytes:
    """The 32 bytes behind a thumbprint.

    Raises:
        Refused: JOIN_BAD, it is mistyped.
    """
    match = _THUMBPRINT.fullmatch(text)
    if match is None:
        raise Refused(Code.JOIN_BAD, "the thumbprint is mistyped: expected SHA256: and 52 letters a-z, 2-7")
    letters = match[1].replace("-", "").upper()
    digest = base64.b32decode(letters + "====")
    # The last letter has four spare bits; only zeros there are the one spelling.
    if base64.b32encode(digest).decode("ascii").rstrip("=") != letters:
        raise Refused(Code.JOIN_BAD, "the thumbprint is mistyped in its last letter")
    return digest


class VerifyKey:
    """An Ed25519 public key that is a sound point (KEY_WEAK otherwise)."""

    __slots__ = ("_key", "kid", "pk")

    def __init__(self, pk: bytes) -> None:
        pk = bytes(pk)
        if len(pk) != KEY_SIZE or not nacl.bindings.crypto_core_ed25519_is_valid_point(pk):
            raise Refused(Code.KEY_WEAK, "not a point of the Ed25519 main subgroup")
        self._key = nacl.signing.VerifyKey(pk)
        self.pk = pk
        self.kid = kid_of(pk)

    @staticmethod
    def of(pk: bytes) -> "VerifyKey":
        """The same object for the same bytes, for callers that read keys from rows again and again."""
        return _known_key(bytes(pk))

    def verify(self, message: bytes, signature: bytes) -> None:
        """Raises Refused(ENV_SIG) unless the signature is this key's over exactly these bytes."""
        try:
            self._key.verify(message, signature)
        except (nacl.exceptions.CryptoError, ValueError, TypeError) as error:
            raise Refused(Code.ENV_SIG) from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VerifyKey) and self.pk == other.pk

    def __hash__(self) -> int:
        return hash(self.pk)

    def __repr__(self) -> str:
        return f"VerifyKey({self.kid.hex()})"


@lru_cache(maxsize=8192)
def _known_key(pk: bytes) -> VerifyKey:
    return VerifyKey(pk)


class SigningKey:
    """An Ed25519 key pair; its repr shows the key id alone."""

    __slots__ = ("_key", "seed", "verify_key")

    def __init__(self, seed: bytes) -> None:
        self._key = nacl.signing.SigningKey(seed)
        self.seed = bytes(seed)
        self.verify_key = VerifyKey(bytes(self._key.verify_key))

    @classmethod
    def generate(cls) -> Self:
        return cls(secrets.token_bytes(KEY_SIZE))

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        return cls(seed)

    @property
    def kid(self) -> bytes:
        return self.verify_key.kid

    def sign(self, message: bytes) -> bytes:
        return bytes(self._key.sign(message).signature)

    def __repr__(self) -> str:
        return f"SigningKey({self.kid.hex()})"


class BoxPublicKey:
    """An X25519 public key to which content keys are wrapped (KEY_WEAK if its order is low)."""

    __slots__ = ("_box", "kid", "pk")

    def __init__(self, pk: bytes) -> None:
        pk = bytes(pk)
        _refuse_low_order(pk)
        self._box = nacl.public.SealedBox(nacl.public.PublicKey(pk))
        self.pk = pk
        self.kid = hashlib.sha256(_BOX_TAG + pk).digest()[:KID_SIZE]

    @staticmethod
    def of(pk: bytes) -> "BoxPublicKey":
        """The same object for the same bytes."""
        return _known_box(bytes(pk))

    def wrap(self, cek: bytes) -> bytes:
        return bytes(self._box.encrypt(cek))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BoxPublicKey) and self.pk == other.pk

    def __hash__(self) -> int:
        return hash(self.pk)

    def __repr__(self) -> str:
        return f"BoxPublicKey({self.kid.hex()})"


@lru_cache(maxsize=8192)
def _known_box(pk: bytes) -> BoxPublicKey:
    return BoxPublicKey(pk)


def _refuse_low_order(pk: bytes) -> None:
    if len(pk) != KEY_SIZE:
        raise Refused(Code.KEY_WEAK, "an X25519 key has 32 bytes")
    try:
        # Any clamped scalar sends every low-order point to zero, and libsodium refuses a zero result.
        nacl.bindings.crypto_scalarmult(_ANY_SCALAR, pk)
    except RuntimeError as error:
        raise Refused(Code.KEY_WEAK, "an X25519 point of low order") from error


class BoxKey:
    """An X25519 key pair; its repr shows the key id alone."""

    __slots__ = ("_box", "public", "secret")

    def __init__(self, secret: bytes) -> None:
        private = nacl.public.PrivateKey(secret)
        self._box = nacl.public.SealedBox(private)
        self.secret = bytes(secret)
        self.public = BoxPublicKey(bytes(private.public_key))

    @classmethod
    def generate(cls) -> Self:
        return cls(secrets.token_bytes(KEY_SIZE))

    @classmethod
    def from_bytes(cls, secret: bytes) -> Self:
        return cls(secret)

    @property
    def kid(self) -> bytes:
        return self.public.kid

    def unwrap(self, wrapped: bytes) -> bytes:
        """The content key; Refused(ENV_SEAL) if it was wrapped to somebody else or altered."""
        try:
            cek = bytes(self._box.decrypt(wrapped))
        except (nacl.exceptions.CryptoError, RuntimeError, ValueError, TypeError) as error:
            raise Refused(Code.ENV_SEAL) from error
        if len(cek) != KEY_SIZE:
            raise Refused(Code.ENV_SEAL, "the wrapped key is not of 32 bytes")
        return cek

    def __repr__(self) -> str:
        return f"BoxKey({self.kid.hex()})"


def hex_bytes(text: str, size: int) -> bytes:
    """Bytes from lowercase hex of exactly that size; ValueError otherwise."""
    if len(text) != 2 * size or text != text.lower():
        raise ValueError(f"expected {2 * size} lowercase hex characters")
    try:
        return binascii.unhexlify(text)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError(f"expected {2 * size} lowercase hex characters") from error

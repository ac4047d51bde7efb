"""The frame in which every message travels, signed by its sender and sealed to one recipient. PURE.

    off   len  field
    0     4    magic "MAE1"
    4     2    type                 closed table
    6     2    header length        <= 4096
    8     4    body length          <= 1 MiB + 16
    12    16   key id of the signer
    28    H    header               canonical JSON
    ..    80   content key, wrapped to the recipient
    ..    24   nonce
    ..    B    body and tag         XChaCha20-Poly1305; AAD = purpose || bytes 0 .. 28+H+80
    ..    64   signature            Ed25519 over purpose || all bytes before it

A receiver goes: size, fixed fields, signer and role, signature, and only then reads the header. The bytes verified are
the bytes used; nothing is written again to be verified.
"""

import hashlib
import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType

import nacl.bindings
import nacl.exceptions

from wire.errors import Code, Refused, excerpt
from wire.header import HEADER_MAX, Header, HeaderRule, read_header, write_header
from wire.keys import SIGNATURE_SIZE, WRAP_SIZE, BoxKey, BoxPublicKey, SigningKey, VerifyKey, hex_bytes
from wire.roles import KeyDirectory, Role, TrustedKey

__all__ = [
    "BODY_MAX",
    "DIRECTION_TO_HUB",
    "DIRECTION_TO_SPOKE",
    "ENROL_MAX",
    "ENVELOPE_VERSION",
    "SIGNER_ROLE",
    "Header",
    "KeyDirectory",
    "MessageType",
    "Role",
    "TrustedKey",
    "Verified",
    "frame_sha256",
    "peek",
    "seal",
    "unseal",
    "verify",
    "verify_enrol",
]

MAGIC = b"MAE1"
ENVELOPE_VERSION = 1
BODY_MAX = 1024 * 1024
ENROL_MAX = 2048

_FIXED = struct.Struct(">4sHHI16s")
_NONCE_SIZE = 24
_TAG_SIZE = 16
_CEK_SIZE = 32
_AROUND_BODY = WRAP_SIZE + _NONCE_SIZE + SIGNATURE_SIZE
_FRAME_MIN = _FIXED.size + _AROUND_BODY + _TAG_SIZE
_FRAME_MAX = _FRAME_MIN + HEADER_MAX + BODY_MAX


class MessageType(IntEnum):
    """The closed table of what travels."""

    COMMAND = 1
    CANCEL = 2
    WELCOME = 3
    HELLO = 16
    ACK = 17
    RESULT = 18
    LOG = 19
    HEARTBEAT = 20
    REJECT = 21
    ROTATE = 22
    ENROL = 32
    ENROLLED = 33
    INTENT = 48


DIRECTION_TO_SPOKE = frozenset({MessageType.COMMAND, MessageType.CANCEL, MessageType.WELCOME, MessageType.ENROLLED})
DIRECTION_TO_HUB = frozenset(kind for kind in MessageType if MessageType.HELLO <= kind <= MessageType.ROTATE)

SIGNER_ROLE: MappingProxyType[MessageType, Role] = MappingProxyType(
    dict.fromkeys(DIRECTION_TO_SPOKE, Role.HUB_COMMAND)
    | dict.fromkeys(DIRECTION_TO_HUB, Role.SPOKE_SIGN)
    | {MessageType.ENROL: Role.SPOKE_SIGN, MessageType.INTENT: Role.HUB_PORTAL}
)

_JOB = HeaderRule(needs_cid=True)
_REPLY = HeaderRule(needs_cid=True, extras=frozenset({"re", "rh"}))
_WITHOUT_SESSION = HeaderRule(has_session=False, has_sequence=False)
_RULES: MappingProxyType[MessageType, HeaderRule] = MappingProxyType(
    {
        MessageType.COMMAND: _JOB,
        MessageType.CANCEL: _JOB,
        MessageType.WELCOME: HeaderRule(has_sequence=False),
        MessageType.HELLO: HeaderRule(has_sequence=False),
        MessageType.ACK: _REPLY,
        MessageType.RESULT: _REPLY,
        MessageType.LOG: HeaderRule(needs_cid=True, extras=frozenset({"idx", "cnt", "prev"})),
        MessageType.HEARTBEAT: HeaderRule(),
        MessageType.REJECT: HeaderRule(),
        MessageType.ROTATE: HeaderRule(),
        MessageType.ENROL: HeaderRule(
            has_session=False, has_sequence=False, has_issuer=False, extras=frozenset({"sign_pk", "trust"})
        ),
        MessageType.ENROLLED: _WITHOUT_SESSION,
        MessageType.INTENT: _WITHOUT_SESSION,
    }
)
_PURPOSE = MappingProxyType({kind: f"manyarm/v1/{kind.name.lower()}\0".encode("ascii") for kind in MessageType})


@dataclass(frozen=True, slots=True)
class Verified:
    """A frame whose signature held; its body is still sealed."""

    kind: MessageType
    header: Header
    signer: TrustedKey
    frame_sha256: str
    frame: bytes = field(repr=False)
    sealed_at: int = field(repr=False)
    """Offset of the wrapped content key."""


def seal(
    kind: MessageType,
    header: Header,
    body: bytes,
    *,
    signer: SigningKey,
    recipient: BoxPublicKey,
    random: Callable[[int], bytes] = os.urandom,
) -> bytes:
    """One frame.

    Args:
        random: Gives that many bytes; another source than the system's is for recorded vectors only.

    Raises:
        Refused: ENV_TOOBIG, or ENV_SCHEMA for a header that its type does not allow.
    """
    if len(body) > BODY_MAX:
        raise Refused(Code.ENV_TOOBIG, f"a body of {len(body)} bytes; at most {BODY_MAX}: use a package or an artifact")
    written = write_header(header, _RULES[kind])
    fixed = _FIXED.pack(MAGIC, kind, len(written), len(body) + _TAG_SIZE, signer.kid)
    cek, nonce = random(_CEK_SIZE), random(_NONCE_SIZE)
    bound = fixed + written + recipient.wrap(cek)
    sealed = nacl.bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(body, _PURPOSE[kind] + bound, nonce, cek)
    signed = bound + nonce + sealed
    frame = signed + signer.sign(_PURPOSE[kind] + signed)
    if kind is MessageType.ENROL and len(frame) > ENROL_MAX:
        raise Refused(Code.ENV_TOOBIG, f"an enrolment of {len(frame)} bytes; at most {ENROL_MAX}: name fewer roles")
    return frame


def peek(frame: bytes) -> tuple[MessageType, bytes]:
    """Type and signer's key id of a frame whose size and fixed fields are right; nothing is verified yet."""
    kind, _, kid = _fixed_fields(frame)
    return kind, kid


def verify(frame: bytes, keys: KeyDirectory, at: int, *, minimum: int = ENVELOPE_VERSION) -> Verified:
    """A frame whose signer may send this type now, and whose signature holds.

    Args:
        at: UTC seconds at which the signer's key must be valid.
        minimum: The least envelope version that the trust document allows.

    Raises:
        Refused: in the order of the page: size, fixed fields, ENV_KEY, ENV_SIG, header.
    """
    kind, header_size, kid = _fixed_fields(frame, minimum)
    if kind is MessageType.ENROL:
        raise Refused(Code.ENV_TYPE, "an enrolment has a door of its own")
    signer = keys.key(kid, SIGNER_ROLE[kind], at)
    _verify_signature(kind, frame, signer.verify_key)
    sealed_at = _FIXED.size + header_size
    header = read_header(frame[_FIXED.size : sealed_at], _RULES[kind])
    return Verified(kind, header, signer, frame_sha256(frame), frame, sealed_at)


def verify_enrol(frame: bytes, *, minimum: int = ENVELOPE_VERSION) -> Verified:
    """An enrolment, signed by the key that it brings (proof of possession).

    The one type whose header is read before its signature, for its key is not known yet; hence the small size.
    """
    if len(frame) > ENROL_MAX:
        raise Refused(Code.ENV_TOOBIG, f"an enrolment has at most {ENROL_MAX} bytes")
    kind, header_size, kid = _fixed_fields(frame, minimum)
    if kind is not MessageType.ENROL:
        raise Refused(Code.ENV_TYPE, "only an enrolment is taken here")
    sealed_at = _FIXED.size + header_size
    header = read_header(frame[_FIXED.size : sealed_at], _RULES[kind])
    key = VerifyKey(hex_bytes(header.sign_pk, 32))
    if key.kid != kid:
        raise Refused(Code.ENV_KEY, "the key id is not that of the key in the header")
    _verify_signature(kind, frame, key)
    signer = TrustedKey(key, Role.SPOKE_SIGN, owner="")
    return Verified(kind, header, signer, frame_sha256(frame), frame, sealed_at)


def unseal(verified: Verified, box_keys: Sequence[BoxKey]) -> bytes:
    """The body, opened with the one of our box keys that fits; Refused(ENV_SEAL) if none does."""
    frame = verified.frame
    bound_end = verified.sealed_at + WRAP_SIZE
    cek = _unwrap(frame[verified.sealed_at : bound_end], box_keys)
    nonce = frame[bound_end : bound_end + _NONCE_SIZE]
    sealed = frame[bound_end + _NONCE_SIZE : -SIGNATURE_SIZE]
    try:
        return nacl.bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            sealed, _PURPOSE[verified.kind] + frame[:bound_end], nonce, cek
        )
    except (nacl.exceptions.CryptoError, RuntimeError, ValueError, TypeError) as error:
        raise Refused(Code.ENV_SEAL, "the body is not the one that was sealed with this frame") from error


def frame_sha256(frame: bytes) -> str:
    return hashlib.sha256(frame).hexdigest()


def _fixed_fields(frame: bytes, minimum: int = ENVELOPE_VERSION) -> tuple[MessageType, int, bytes]:
    if len(frame) > _FRAME_MAX:
        raise Refused(Code.ENV_TOOBIG, f"{len(frame)} bytes; a frame has at most {_FRAME_MAX}")
    _refuse_version(frame, minimum)
    if len(frame) < _FRAME_MIN:
        raise Refused(Code.ENV_SHORT, f"{len(frame)} bytes; a frame has at least {_FRAME_MIN}")
    _, number, header_size, body_size, kid = _FIXED.unpack_from(frame)
    kind = _type_of(number)
    if header_size > HEADER_MAX or body_size > BODY_MAX + _TAG_SIZE:
        raise Refused(Code.ENV_TOOBIG, f"a header of {header_size} and a body of {body_size} bytes are announced")
    if body_size < _TAG_SIZE or len(frame) != _FIXED.size + header_size + body_size + _AROUND_BODY:
        raise Refused(Code.ENV_LENGTH, f"{len(frame)} bytes, {header_size} of header and {body_size} of body announced")
    return kind, header_size, kid


def _refuse_version(frame: bytes, minimum: int) -> None:
    if not frame or not MAGIC.startswith(frame[: len(MAGIC)]):
        raise Refused(Code.ENV_VERSION, f"begins with {excerpt(bytes(frame[:8]))}, expected {MAGIC!r}")
    if minimum > ENVELOPE_VERSION:
        raise Refused(
            Code.ENV_VERSION,
            f"this is envelope version {ENVELOPE_VERSION}; the trust document asks for {minimum} or later: "
            "upgrade the older side",
        )


def _type_of(number: int) -> MessageType:
    try:
        return MessageType(number)
    except ValueError as error:
        raise Refused(Code.ENV_TYPE, f"type {number}") from error


def _verify_signature(kind: MessageType, frame: bytes, key: VerifyKey) -> None:
    key.verify(_PURPOSE[kind] + frame[:-SIGNATURE_SIZE], frame[-SIGNATURE_SIZE:])


def _unwrap(wrapped: bytes, box_keys: Sequence[BoxKey]) -> bytes:
    for box_key in box_keys:
        try:
            return box_key.unwrap(wrapped)
        except Refused:
            continue
    raise Refused(Code.ENV_SEAL, "it is sealed to none of our box keys")

r"""Signed public documents: what a hub says to everybody, where an envelope speaks to one. PURE.

    magic "MAD1" | kind u16 | signatures u8 | length u32 | canonical JSON | n x (key id 16, signature 64)

A signature is over the purpose ("manyarm/v1/<kind>\0") and the JSON bytes as they stand.
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import Annotated, Self

from wire import canonical, schema
from wire.address import Address
from wire.canonical import JsonObject
from wire.errors import Code, Refused, excerpt
from wire.keys import KID_SIZE, SIGNATURE_SIZE, BoxPublicKey, SigningKey, hex_bytes
from wire.roles import KeyDirectory, Role
from wire.schema import Count, Digest, Id, Many, Text, Whole

MAGIC = b"MAD1"
DOCUMENT_MAX = 64 * 1024
FLEET_MAX = 4 * 1024 * 1024
FLEET_SPOKES_MAX = 10_000
SIGNATURES_MAX = 16
FORWARD_MAX = 10_000

_FIXED = struct.Struct(">4sHBI")
_SIGNATURE = struct.Struct(f">{KID_SIZE}s{SIGNATURE_SIZE}s")


class DocumentKind(IntEnum):
    TRUST = 1
    BOX = 2
    RUNNER = 3
    FLEET = 4


DOCUMENT_SIGNER: MappingProxyType[DocumentKind, Role] = MappingProxyType(
    {
        DocumentKind.TRUST: Role.HUB_ROOT,
        DocumentKind.BOX: Role.HUB_COMMAND,
        DocumentKind.RUNNER: Role.HUB_RELEASE,
        DocumentKind.FLEET: Role.HUB_COMMAND,
    }
)


@dataclass(frozen=True, slots=True)
class SignedDocument:
    """A frame taken apart, nothing verified yet."""

    kind: DocumentKind
    json: bytes
    signatures: tuple[tuple[bytes, bytes], ...]
    frame: bytes = field(repr=False)

    @property
    def signed_bytes(self) -> bytes:
        return _purpose(self.kind) + self.json

    @property
    def sha256(self) -> str:
        """Of the JSON alone: further signatures do not make another document."""
        return hashlib.sha256(self.json).hexdigest()


def sign_document(kind: DocumentKind, body: JsonObject, *signers: SigningKey) -> bytes:
    """The frame of a document; Refused(ENV_TOOBIG) beyond 64 KiB (a fleet: 4 MiB) or 16 signatures."""
    json = canonical.encode(body)
    if len(json) > _most(kind) or len(signers) > SIGNATURES_MAX:
        raise Refused(Code.ENV_TOOBIG, f"a document of {len(json)} bytes with {len(signers)} signatures")
    signed = _purpose(kind) + json
    signatures = [_SIGNATURE.pack(signer.kid, signer.sign(signed)) for signer in signers]
    return _FIXED.pack(MAGIC, kind, len(signers), len(json)) + json + b"".join(signatures)


def countersigned(frame: bytes, *signers: SigningKey) -> bytes:
    """The same document with further signatures; who has signed it already is not asked again."""
    _, number, _, _ = _FIXED.unpack_from(frame)
    signed = split_document(frame, DocumentKind(number))
    there = {kid for kid, _ in signed.signatures}
    more = [(one.kid, one.sign(signed.signed_bytes)) for one in signers if one.kid not in there]
    return with_signatures(signed, (*signed.signatures, *more))


def with_signatures(signed: SignedDocument, signatures: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The frame of that document with these signatures, which nobody checks here."""
    if len(signatures) > SIGNATURES_MAX:
        raise Refused(Code.ENV_TOOBIG, f"{len(signatures)} signatures")
    packed = b"".join(_SIGNATURE.pack(kid, signature) for kid, signature in signatures)
    return _FIXED.pack(MAGIC, signed.kind, len(signatures), len(signed.json)) + signed.json + packed


def split_document(frame: bytes, kind: DocumentKind) -> SignedDocument:
    """The parts of a frame of that kind; counts and sizes are checked, signatures are not."""
    if len(frame) > _FIXED.size + _most(kind) + SIGNATURES_MAX * _SIGNATURE.size:
        raise Refused(Code.ENV_TOOBIG, f"a document of {len(frame)} bytes")
    if not frame or not MAGIC.startswith(frame[: len(MAGIC)]):
        raise Refused(Code.ENV_VERSION, f"begins with {excerpt(bytes(frame[:8]))}, expected {MAGIC!r}")
    if len(frame) < _FIXED.size:
        raise Refused(Code.ENV_SHORT, f"a document of {len(frame)} bytes")
    _, number, count, size = _FIXED.unpack_from(frame)
    if number != kind:
        raise Refused(Code.ENV_TYPE, f"a document of kind {number}, expected {kind.name.lower()}")
    if size > _most(kind) or count > SIGNATURES_MAX:
        raise Refused(Code.ENV_TOOBIG, f"{size} bytes and {count} signatures are announced")
    if len(frame) != _FIXED.size + size + count * _SIGNATURE.size:
        raise Refused(Code.ENV_LENGTH, "the document's parts do not add up to its length")
    json_end = _FIXED.size + size
    signatures = tuple(_SIGNATURE.iter_unpack(frame[json_end:]))
    return SignedDocument(kind, frame[_FIXED.size : json_end], signatures, frame)


def open_document(frame: bytes, kind: DocumentKind, keys: KeyDirectory, at: int) -> JsonObject:
    """The body of a document that carries the one signature of its role (trust documents have rules of their own).

    Raises:
        Refused: RUN_SIG for a runner document, ENV_KEY or TRUST_SIG for others; the codes of frames and schemas.
    """
    signed = split_document(frame, kind)
    wrong = Code.RUN_SIG if kind is DocumentKind.RUNNER else Code.TRUST_SIG
    if len(signed.signatures) != 1:
        raise Refused(wrong, f"{len(signed.signatures)} signatures, expected one")
    ((kid, signature),) = signed.signatures
    try:
        keys.key(kid, DOCUMENT_SIGNER[kind], at).verify_key.verify(signed.signed_bytes, signature)
    except Refused as refusal:
        if refusal.code is Code.ENV_SIG or kind is DocumentKind.RUNNER:
            raise Refused(wrong, refusal.detail) from refusal
        raise
    body = canonical.decode(signed.json)
    if not isinstance(body, dict):
        raise Refused(Code.ENV_SCHEMA, "the document is not an object")
    return body


@dataclass(frozen=True, slots=True)
class BoxDocument:
    """The hub's box key of the day, certified by hub-command."""

    hub: Id
    box_pk: Digest
    kid: Id
    issued: Annotated[int, Whole(1)]
    expires: Annotated[int, Whole(1)]

    @classmethod
    def of(cls, hub: str, box: BoxPublicKey, *, issued: int, expires: int) -> Self:
        return cls(hub, box.pk.hex(), box.kid.hex(), issued, expires)

    @classmethod
    def open(cls, frame: bytes, keys: KeyDirectory, at: int, hub: str) -> Self:
        """Verified; whether it is current, the caller asks with the time that he trusts."""
        document = schema.read(cls, open_document(frame, DocumentKind.BOX, keys, at))
        if document.hub != hub:
            raise Refused(Code.ENV_ISS, "the box key is another hub's")
        if document.box.kid.hex() != document.kid:
            raise Refused(Code.ENV_KEY, "the key id is not that of the box key")
        return document

    def sign(self, signer: SigningKey) -> bytes:
        return sign_document(DocumentKind.BOX, schema.write_object(self), signer)

    @property
    def box(self) -> BoxPublicKey:
        return BoxPublicKey.of(hex_bytes(self.box_pk, 32))

    def is_current(self, at: int) -> bool:
        return at < self.expires


@dataclass(frozen=True, slots=True)
class FleetSpoke:
    """A listening spoke: where it is dialled, and what it must show there.

    `thumbprint` is that of its signing key, which stands in its certificate; `spki` the pin of its TLS key, "" where
    the hub knows the spoke by its thumbprint alone.
    """

    id: Id
    address: Address
    thumbprint: Annotated[str, Text(71, "SHA256:([a-z2-7]{4}-){12}[a-z2-7]{4}")]
    spki: Annotated[str, Text(64, "([0-9a-f]{64})?")]


@dataclass(frozen=True, slots=True)
class FleetDocument:
    """Whom the relays of one fleet dial; short-lived, so that who is not in it any more is soon nobody's business."""

    hub: Id
    fleet: Annotated[str, Text(32, "[a-z0-9-]{1,32}")]
    issued: Annotated[int, Whole(1)]
    expires: Annotated[int, Whole(1)]
    gateway: Annotated[str, Text(500)]
    spokes: Annotated[tuple[FleetSpoke, ...], Many(FLEET_SPOKES_MAX)]

    @classmethod
    def open(cls, frame: bytes, keys: KeyDirectory, at: int, hub: str) -> Self:
        """Verified; whether it is current, the caller asks with the time that he trusts."""
        document = schema.read(cls, open_document(frame, DocumentKind.FLEET, keys, at))
        if document.hub != hub:
            raise Refused(Code.ENV_ISS, "the fleet is another hub's")
        if len({spoke.id for spoke in document.spokes}) != len(document.spokes):
            raise Refused(Code.ENV_SCHEMA, "a spoke stands there twice", field="spokes")
        return document

    def sign(self, signer: SigningKey) -> bytes:
        return sign_document(DocumentKind.FLEET, schema.write_object(self), signer)

    def is_current(self, at: int) -> bool:
        return at < self.expires


@dataclass(frozen=True, slots=True)
class RunnerDocument:
    """One release of the runner, signed by hub-release."""

    name: Annotated[str, Text(64)]
    release: Annotated[int, Whole(1)]
    semver: Annotated[str, Text(64)]
    sha256: Digest
    size: Annotated[int, Whole(1, 256 * 1024 * 1024)]
    min_python: Annotated[str, Text(16)]
    platforms: Annotated[tuple[Annotated[str, Text(64)], ...], Many(32)]
    created: Count
    expires: Annotated[int, Whole(1)]
    prev_release_sha256: Annotated[str, Text(64, "([0-9a-f]{64})?")]

    @classmethod
    def open(cls, frame: bytes, keys: KeyDirectory, at: int) -> Self:
        return schema.read(cls, open_document(frame, DocumentKind.RUNNER, keys, at))

    def sign(self, signer: SigningKey) -> bytes:
        return sign_document(DocumentKind.RUNNER, schema.write_object(self), signer)


@dataclass(frozen=True, slots=True)
class HighWaterMark:
    """The highest number seen of one kind of document, its digest, and the role's key ids (hex) at that time."""

    number: int
    sha256: str
    kids: frozenset[str]

    def advance(self, number: int, sha256: str, kids: frozenset[str], *, older: Code) -> "HighWaterMark":
        """The mark after this document.

        Replacing all keys of the role forgets the mark: so a thief's huge number does no lasting harm.

        Raises:
            Refused: `older` for a lower number or the same number with another digest; TRUST_FORWARD for a leap.
        """
        if not self.kids.isdisjoint(kids):
            if number < self.number or (number == self.number and sha256 != self.sha256):
                raise Refused(older, f"number {number}, known is {self.number}")
            if number - self.number > FORWARD_MAX:
                raise Refused(Code.TRUST_FORWARD, f"number {number}, known is {self.number}")
        return HighWaterMark(number, sha256, kids)


def accept_runner(
    document: RunnerDocument, mark: HighWaterMark | None, *, min_release: int, kids: Sequence[str], at: int
) -> HighWaterMark:
    """The mark after taking this runner release; Refused with RUN_EXPIRED, RUN_ROLLBACK or TRUST_FORWARD."""
    if at >= document.expires:
        raise Refused(Code.RUN_EXPIRED, f"release {document.release}")
    if document.release < min_release:
        raise Refused(Code.RUN_ROLLBACK, f"release {document.release}, the trust document asks for {min_release}")
    known = frozenset(kids)
    if mark is None:
        return HighWaterMark(document.release, document.sha256, known)
    return mark.advance(document.release, document.sha256, known, older=Code.RUN_ROLLBACK)


def _most(kind: DocumentKind) -> int:
    return FLEET_MAX if kind is DocumentKind.FLEET else DOCUMENT_MAX


def _purpose(kind: DocumentKind) -> bytes:
    return f"manyarm/v1/{kind.name.lower()}\0".encode("ascii")

"""Whom to believe: the hub's trust documents, each signed by a threshold of root keys, linked into a chain. PURE.

A chain is a value. `update` verifies everything before it returns a new chain, so a bad document is never in force and
never on disk; the caller stores `frames` after.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Self

from wire import canonical, schema
from wire.documents import FORWARD_MAX, DocumentKind, SignedDocument, sign_document, split_document
from wire.errors import Code, Refused
from wire.keys import SigningKey, VerifyKey, hex_bytes, thumbprint_of_digest
from wire.roles import KeyTable, Role, TrustedKey
from wire.schema import Count, Digest, Id, Many, Text, Whole

__all__ = [
    "DocumentKey",
    "Role",
    "RunnerFloor",
    "TlsPin",
    "TrustChain",
    "TrustDocument",
    "check_document",
    "check_signatures",
    "read_trust",
    "sign_trust",
]

VALID_MAX_S = 400 * 86_400
_OWNERS = {Role.HUB_PORTAL: "portal", Role.RELAY: "relay"}


@dataclass(frozen=True, slots=True)
class DocumentKey:
    """A key that the document vouches for, from nbf (inclusive) until naf (exclusive), UTC seconds."""

    kid: Id
    alg: Annotated[str, Text(16, "ed25519")]
    pk: Digest
    role: Role
    nbf: Count
    naf: Count

    @classmethod
    def of(cls, key: VerifyKey, role: Role, *, nbf: int, naf: int) -> Self:
        return cls(key.kid.hex(), "ed25519", key.pk.hex(), role, nbf, naf)

    @property
    def trusted(self) -> TrustedKey:
        key = VerifyKey.of(hex_bytes(self.pk, 32))
        return TrustedKey(key, self.role, _OWNERS.get(self.role, "hub"), self.nbf, self.naf)


@dataclass(frozen=True, slots=True)
class TlsPin:
    """SHA-256 of the public key that a TLS peer of this role shows."""

    role: Annotated[str, Text(32)]
    spki: Digest


@dataclass(frozen=True, slots=True)
class RunnerFloor:
    min_release: Count


@dataclass(frozen=True, slots=True)
class TrustDocument:
    hub: Id
    version: Annotated[int, Whole(1)]
    prev_sha256: Annotated[str, Text(64, "([0-9a-f]{64})?")]
    issued: Annotated[int, Whole(1)]
    expires: Annotated[int, Whole(1)]
    threshold: Annotated[int, Whole(least=-(2**31), most=2**31)]
    epoch: Annotated[int, Whole(1)]
    min_envelope: Annotated[int, Whole(1, 1000)]
    keys: Annotated[tuple[DocumentKey, ...], Many(200)]
    revoked: Annotated[tuple[Id, ...], Many(400)]
    tls_pins: Annotated[tuple[TlsPin, ...], Many(200)]
    runner: RunnerFloor

    @property
    def runner_min_release(self) -> int:
        return self.runner.min_release

    @property
    def sha256(self) -> str:
        """As the next version's prev_sha256 names it."""
        return hashlib.sha256(canonical.encode(schema.write(self))).hexdigest()

    @property
    def roots(self) -> tuple[TrustedKey, ...]:
        return self.trusted(Role.HUB_ROOT)

    def trusted(self, role: Role) -> tuple[TrustedKey, ...]:
        """The keys of that role that are not revoked."""
        return tuple(key.trusted for key in self.keys if key.role is role and key.kid not in self.revoked)

    def pins(self, role: str) -> tuple[str, ...]:
        return tuple(pin.spki for pin in self.tls_pins if pin.role == role)


def sign_trust(document: TrustDocument, signers: Iterable[SigningKey]) -> bytes:
    """The frame; Refused(TRUST_THRESHOLD, KEY_WEAK or ENV_TTL) for a document that no receiver would take.

    Whether the signers suffice depends on the version before: `TrustChain.update` says so.
    """
    check_document(document)
    return sign_document(DocumentKind.TRUST, schema.write_object(document), *signers)


def read_trust(frame: bytes) -> TrustDocument:
    """What a frame says, whoever signed it: to show it, or to sign it."""
    return _read_document(split_document(frame, DocumentKind.TRUST))


class TrustChain:
    """The documents from the anchor to the newest, and the one in force."""

    __slots__ = ("_directory", "_signed", "document")

    def __init__(self, document: TrustDocument, signed: tuple[SignedDocument, ...]) -> None:
        """For `from_root` and `update` alone, which verify."""
        self.document = document
        self._signed = signed
        keys = (key.trusted for key in document.keys if key.kid not in document.revoked)
        self._directory = KeyTable(keys)

    @classmethod
    def from_root(cls, root_sha256: bytes, frames: Iterable[bytes]) -> Self:
        """The chain that starts at the first document signed by the root key of that thumbprint.

        Raises:
            Refused: TRUST_SIG with both thumbprints where no document is signed by it; otherwise as `update`.
        """
        remaining = iter(frames)
        shown: list[str] = []
        for frame in remaining:
            signed = split_document(frame, DocumentKind.TRUST)
            # Parsed before it is verified, for it brings its own keys: 64 KiB at most, one strict form.
            document = _read_document(signed)
            root = _root_of(document, root_sha256)
            if root is None:
                shown += [thumbprint_of_digest(hashlib.sha256(key.pk).digest()) for key in document.roots]
                continue
            if root not in _signers(signed, document.roots):
                raise Refused(Code.TRUST_SIG, "the root key of the join code did not sign the document that names it")
            _require_threshold(signed, document, document)
            return cls(document, (signed,)).update(remaining)
        raise Refused(
            Code.TRUST_SIG,
            f"expected root {thumbprint_of_digest(root_sha256)}, this hub shows {', '.join(shown[-2:]) or 'none'}",
        )

    def update(self, frames: Iterable[bytes]) -> Self:
        """The chain after these documents, in order of version; the newest one held may be among them.

        Raises:
            Refused: TRUST_{SIG,THRESHOLD,ROLLBACK,GAP,FORWARD}, ENV_ISS, or a code of frames; this chain stays.
        """
        chain = self
        for frame in frames:
            chain = chain._followed_by(split_document(frame, DocumentKind.TRUST))
        return chain

    @property
    def frames(self) -> tuple[bytes, ...]:
        return tuple(signed.frame for signed in self._signed)

    @property
    def version(self) -> int:
        return self.document.version

    @property
    def sha256(self) -> str:
        return self._signed[-1].sha256

    def directory(self) -> KeyTable:
        """The keys in force, each with its own validity."""
        return self._directory

    def expired(self, at: int) -> bool:
        return at >= self.document.expires

    def known_since(self, kid: bytes) -> int:
        """The first version of the unbroken run up to the newest one that names this key; 0 where that one does not."""
        since = 0
        for signed in reversed(self._signed):
            document = _read_document(signed)
            if all(key.kid != kid.hex() for key in document.keys):
                break
            since = document.version
        return since

    def revoked_since(self) -> int:
        """The version in which the newest revocation came; 0 where no key is revoked."""
        revoked, since = set(self.document.revoked), 0
        for signed in reversed(self._signed) if revoked else ():
            document = _read_document(signed)
            if set(document.revoked) != revoked:
                break
            since = document.version
        return since

    def ever(self, role: Role) -> tuple[VerifyKey, ...]:
        """Every key that any version named for that role and none revoked: for what was signed long ago."""
        named = (key for signed in self._signed for key in _read_document(signed).keys if key.role is role)
        return tuple({key.pk: key.trusted.verify_key for key in named if key.kid not in self.document.revoked}.values())

    def _followed_by(self, signed: SignedDocument) -> Self:
        if signed.json == self._signed[-1].json:
            return self
        if any(signed.json == known.json for known in self._signed):
            raise Refused(Code.TRUST_ROLLBACK, f"an older version than {self.version}")
        _count(signed, self.document.roots, self.document.threshold, "the version before")
        document = _read_document(signed)
        self._check_place(signed, document)
        return type(self)(document, (*self._signed, signed))

    def _check_place(self, signed: SignedDocument, document: TrustDocument) -> None:
        held = self.document
        if document.hub != held.hub:
            raise Refused(Code.ENV_ISS, "the trust document is another hub's")
        if document.version <= held.version or document.epoch < held.epoch:
            raise Refused(Code.TRUST_ROLLBACK, f"version {document.version}, known is {held.version}")
        if document.version - held.version > FORWARD_MAX:
            raise Refused(Code.TRUST_FORWARD, f"version {document.version}, known is {held.version}")
        follows = document.version == held.version + 1
        if follows and document.prev_sha256 != self.sha256:
            raise Refused(Code.TRUST_GAP, f"version {document.version} does not follow the known {held.version}")
        if not follows and _root_set(document) != _root_set(held):
            raise Refused(Code.TRUST_GAP, f"root keys change between {held.version} and {document.version}")
        _require_threshold(signed, document, held)
        _require_threshold(signed, document, document)


def check_document(document: TrustDocument) -> None:
    """What must hold of any trust document, at signing and at loading.

    Raises:
        Refused: TRUST_THRESHOLD for a threshold that its root keys cannot give, or keys under false or double names;
            KEY_WEAK; ENV_TTL.
    """
    for key in document.keys:
        if key.trusted.kid.hex() != key.kid:
            raise Refused(Code.TRUST_THRESHOLD, "a key id is not that of its key", field="keys")
        if key.nbf >= key.naf:
            raise Refused(Code.ENV_TTL, "a key is never valid", field="keys")
    if len({key.pk for key in document.keys}) != len(document.keys):
        raise Refused(Code.TRUST_THRESHOLD, "one key stands there twice", field="keys")
    if not 1 <= document.threshold <= len(document.roots):
        raise Refused(
            Code.TRUST_THRESHOLD,
            f"threshold {document.threshold} of {len(document.roots)} root keys",
            field="threshold",
        )
    if not 0 < document.expires - document.issued <= VALID_MAX_S:
        raise Refused(Code.ENV_TTL, "a trust document is valid for at most 400 days", field="expires")


def _read_document(signed: SignedDocument) -> TrustDocument:
    document = schema.read(TrustDocument, canonical.decode(signed.json))
    check_document(document)
    return document


def _root_of(document: TrustDocument, root_sha256: bytes) -> VerifyKey | None:
    return next(
        (key.verify_key for key in document.roots if hashlib.sha256(key.pk).digest() == root_sha256),
        None,
    )


def _root_set(document: TrustDocument) -> tuple[int, frozenset[bytes]]:
    return document.threshold, frozenset(key.pk for key in document.roots)


def _signers(signed: SignedDocument, keys: Iterable[TrustedKey]) -> set[VerifyKey]:
    """The distinct keys among these that signed; a false signature under a known key id refuses the whole."""
    known = {key.kid: key.verify_key for key in keys}
    found = set()
    for kid, signature in signed.signatures:
        if kid not in known:
            continue
        try:
            known[kid].verify(signed.signed_bytes, signature)
        except Refused as refusal:
            raise Refused(Code.TRUST_SIG, f"the signature of root key {kid.hex()} does not hold") from refusal
        found.add(known[kid])
    return found


def check_signatures(signed: SignedDocument, *judges: TrustDocument) -> None:
    """Refused(TRUST_SIG) where a signature under the key id of one of their roots is false."""
    _signers(signed, [key for judge in judges for key in judge.roots])


def _require_threshold(signed: SignedDocument, document: TrustDocument, judges: TrustDocument) -> None:
    valid = [key for key in judges.roots if key.is_valid(document.issued)]
    _count(signed, valid, judges.threshold, "its own roots" if judges is document else "the version before")


def _count(signed: SignedDocument, keys: Iterable[TrustedKey], threshold: int, whose: str) -> None:
    count = len(_signers(signed, keys))
    if count == 0:
        raise Refused(
            Code.TRUST_SIG, f"no signature of {whose} that counts (root key known, and valid when it was issued)"
        )
    if count < threshold:
        raise Refused(Code.TRUST_THRESHOLD, f"{count} of {threshold} signatures of {whose}")

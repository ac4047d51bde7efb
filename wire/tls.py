"""TLS between our own parties: self-signed certificates, TLS 1.3 alone, and the peer's key compared with a pin.

The only file that makes a context. A pin is the SHA-256 of the peer's SubjectPublicKeyInfo, in lowercase hex. It is
compared inside the handshake call itself: whoever uses one of these contexts cannot send a byte before it. (One context
leaves that to its user, who does it as the first thing: `bound_client_context`.)

OpenSSL shows a server the certificate of a client only where it chains to something that was loaded, and a pin is a
digest that cannot be loaded. So a client's certificate is issued by an authority whose key is published right here. It
vouches for nothing: it makes OpenSSL prove that the client has the key of its leaf, and the pin decides.
"""

import os
import ssl
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from wire.errors import Code, Refused
from wire.keys import SIGNATURE_SIZE, SigningKey, VerifyKey, parse_thumbprint, thumbprint, thumbprint_of_digest

# What others name a context by, without importing ssl themselves.
TlsContext = ssl.SSLContext
TlsPeer = ssl.SSLSocket | ssl.SSLObject

# Lifetime is governed by the trust document; this only outlives it.
_LIFETIME = timedelta(days=3652)
_CLOCK_SKEW = timedelta(days=1)
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
# sign_pk (32) | its signature over the tag and the SPKI's SHA-256 (64). The arc 2.25 is for numbers made by chance.
_BINDING = x509.ObjectIdentifier("2.25.213418725901937455121843957320912846273")
_BINDING_TAG = b"manyarm/v1/tls-binding\0"
_BINDING_SIZE = 32 + SIGNATURE_SIZE
_AUTHORITY_NAME = x509.Name(
    [x509.NameAttribute(NameOID.COMMON_NAME, "Manyarm published authority, vouches for nothing")]
)


def make_certificate(signing_seed: bytes, name: str, *, bound_to: SigningKey | None = None) -> tuple[bytes, bytes]:
    """A self-signed Ed25519 leaf and its key, both PEM.

    Args:
        signing_seed: 32 bytes that belong to this TLS key alone.
        name: Common and alternative name; shown, never trusted.
        bound_to: The key that says "this TLS key is mine" inside the certificate: whose thumbprint people compare.
    """
    key = ed25519.Ed25519PrivateKey.from_private_bytes(signing_seed)
    builder = _leaf(key.public_key(), name, _named(name))
    if bound_to is not None:
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        said = bound_to.verify_key.pk + bound_to.sign(_BINDING_TAG + sha256(public).digest())
        builder = builder.add_extension(x509.UnrecognizedExtension(_BINDING, said), critical=False)
    return _pem(builder.sign(key, None)), _private_pem(key)


def make_client_certificate(signing_seed: bytes, name: str) -> tuple[bytes, bytes]:
    """A leaf for one who dials in to a listener that knows its pin, issued by the published authority; both PEM."""
    key = ed25519.Ed25519PrivateKey.from_private_bytes(signing_seed)
    # From long ago: a target whose clock is off must not take it for one of the future.
    certificate = _leaf(key.public_key(), name, _AUTHORITY_NAME, since=_LONG_AGO).sign(_authority_key(), None)
    return _pem(certificate), _private_pem(key)


def spki_sha256(certificate: bytes) -> str:
    """The pin of a certificate, PEM or DER."""
    return sha256(_spki(certificate)).hexdigest()


def server_context(
    certificate: bytes, key: bytes, client_pins: Collection[str] | None = None, *, client_optional: bool = False
) -> ssl.SSLContext:
    """A listener's context; with `client_pins` a client must show a certificate of one of exactly these keys.

    Args:
        certificate: PEM, as `key`.
        client_pins: None asks for no certificate; an empty collection lets nobody in.
        client_optional: A client may show none; one that it shows must be pinned.
    """
    context = _PinningContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    # A ticket would let a second connection in without showing the certificate again.
    context.num_tickets = 0
    _load(context, certificate, key)
    if client_pins is not None:
        context.verify_mode = ssl.CERT_OPTIONAL if client_optional else ssl.CERT_REQUIRED
        context.pins = frozenset(pin.lower() for pin in client_pins)
        context.client_optional = client_optional
        context.load_verify_locations(cadata=_authority())
    return context


def client_context(
    pins: Collection[str], *, certificate: bytes | None = None, key: bytes | None = None
) -> ssl.SSLContext:
    """A dialler's context: the peer's key must be one of `pins`; its name, chain and dates are no matter."""
    if not pins:
        raise ValueError("a client context needs at least one pin")
    context = _PinningContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    context.check_hostname = False
    # The pin says more than any chain: TLS 1.3 makes the peer prove that it has that very key.
    context.verify_mode = ssl.CERT_NONE
    context.pins = frozenset(pin.lower() for pin in pins)
    if certificate is not None and key is not None:
        _load(context, certificate, key)
    return context


def bound_client_context(certificate: bytes, key: bytes) -> ssl.SSLContext:
    """One context for dialling many listeners, each known by the thumbprint that its certificate is bound to.

    Nothing is compared in the handshake: call `check_bound_peer` before the first byte.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _load(context, certificate, key)
    return context


def unverified_client_context() -> ssl.SSLContext:
    """For enrolment, the one exchange before there is a pin: what is trusted there is the join code's thumbprint."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def public_client_context() -> ssl.SSLContext:
    """For a server that is not ours: its name and chain, by the system's authorities; TLS 1.2 or later."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def check_peer(connection: TlsPeer, pins: Collection[str]) -> None:
    """Compare the peer's key with the pins.

    Raises:
        Refused: TLS_NOCERT, TLS_PIN with both thumbprints, or KEY_WEAK.
    """
    certificate = connection.getpeercert(binary_form=True)
    if not certificate:
        raise Refused(Code.TLS_NOCERT, "the peer showed no certificate")
    found = spki_sha256(certificate)
    if found not in pins:
        expected = " or ".join(thumbprint_of_digest(bytes.fromhex(pin)) for pin in sorted(pins)) or "none"
        raise Refused(Code.TLS_PIN, f"expected {expected}, found {thumbprint_of_digest(bytes.fromhex(found))}")


def check_bound_peer(connection: TlsPeer, expected: str, spki: str = "") -> None:
    """Hold the peer against the thumbprint that its certificate must be bound to, and against its pin if known.

    Raises:
        Refused: TLS_NOCERT, TLS_PIN with both thumbprints, or KEY_WEAK.
    """
    certificate = connection.getpeercert(binary_form=True)
    if not certificate:
        raise Refused(Code.TLS_NOCERT, "the peer showed no certificate")
    found = bound_thumbprint(certificate)
    if parse_thumbprint(found) != parse_thumbprint(expected):
        raise Refused(Code.TLS_PIN, f"expected {expected}, found {found}")
    if spki:
        check_peer(connection, (spki,))


def bound_thumbprint(certificate: bytes) -> str:
    """The thumbprint of the key that vouches for this certificate's own key.

    Raises:
        Refused: TLS_PIN, no key does, or its signature does not hold; KEY_WEAK.
    """
    try:
        extensions = _parsed(certificate).extensions
        said = extensions.get_extension_for_oid(_BINDING).value.public_bytes()
    except (x509.ExtensionNotFound, ValueError) as error:
        raise Refused(Code.TLS_PIN, "the peer's certificate is bound to no spoke's key") from error
    if len(said) != _BINDING_SIZE:
        raise Refused(Code.TLS_PIN, "the binding of the peer's certificate is not of its one size")
    voucher = VerifyKey(said[:-SIGNATURE_SIZE])
    try:
        voucher.verify(_BINDING_TAG + sha256(_spki(certificate)).digest(), said[-SIGNATURE_SIZE:])
    except Refused as refusal:
        raise Refused(Code.TLS_PIN, "the binding of the peer's certificate is of another TLS key") from refusal
    return thumbprint(voucher.pk)


class _PinnedSocket(ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        try:
            _check_pinned(self)
        except Refused:
            # The library closes after its own errors only; a loop that watches the socket closes it itself.
            if self.gettimeout() != 0:
                self.close()
            raise


class _PinnedObject(ssl.SSLObject):
    """What asyncio and anyone with memory buffers uses."""

    def do_handshake(self) -> None:
        super().do_handshake()
        _check_pinned(self)


class _PinningContext(ssl.SSLContext):
    sslsocket_class = _PinnedSocket
    sslobject_class = _PinnedObject
    pins: frozenset[str] | None
    client_optional: bool

    def __new__(cls, protocol: int) -> Self:
        context = super().__new__(cls, protocol)
        context.pins = None
        context.client_optional = False
        return context


def _check_pinned(connection: TlsPeer) -> None:
    context = connection.context
    if not isinstance(context, _PinningContext) or context.pins is None:
        return
    if context.client_optional and not connection.getpeercert(binary_form=True):
        return
    check_peer(connection, context.pins)


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.maximum_version = ssl.TLSVersion.TLSv1_3


def _parsed(certificate: bytes) -> x509.Certificate:
    pem = certificate.lstrip().startswith(b"-----BEGIN")
    return x509.load_pem_x509_certificate(certificate) if pem else x509.load_der_x509_certificate(certificate)


def _spki(certificate: bytes) -> bytes:
    try:
        public_key = _parsed(certificate).public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Refused(Code.TLS_PIN, "the peer's certificate cannot be read") from error
    if isinstance(public_key, ed25519.Ed25519PublicKey):
        # OpenSSL takes small-order points, for which anyone can write a signature.
        VerifyKey(public_key.public_bytes_raw())
    return public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _leaf(
    public_key: ed25519.Ed25519PublicKey, name: str, issuer: x509.Name, since: datetime | None = None
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(since or now - _CLOCK_SKEW)
        .not_valid_after(now + _LIFETIME)
        # CA:FALSE: the holder of a pinned certificate must not be able to issue children that pass for it.
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    )


def _authority_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.from_private_bytes(sha256(b"manyarm/v1/published-authority\0").digest())


@lru_cache(maxsize=1)
def _authority() -> str:
    """The published authority's certificate, PEM; it lasts longer than any leaf and is never sent to anybody."""
    key = _authority_key()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_AUTHORITY_NAME)
        .issuer_name(_AUTHORITY_NAME)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(_LONG_AGO)
        .not_valid_after(datetime(9999, 1, 1, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, None)
    )
    return _pem(certificate).decode("ascii")


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _private_pem(key: ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _load(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    with _private_file(certificate + b"\n" + key) as path:
        context.load_cert_chain(path)


@contextmanager
def _private_file(content: bytes) -> Iterator[str]:
    """OpenSSL loads a key from a file only; where the system has it, that file lives in memory."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("manyarm-tls", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, content)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pair.pem"
            with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                file.write(content)
            yield str(path)

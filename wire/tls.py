"""TLS between our own parties: self-signed certificates, TLS 1.3 alone, and the peer's key compared with a pin.

The only file that makes a context. A pin is the SHA-256 of the peer's SubjectPublicKeyInfo, in lowercase hex. It is
compared inside the handshake call itself: whoever uses one of these contexts cannot send a byte before it.
"""

import os
import ssl
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from wire.errors import Code, Refused
from wire.keys import VerifyKey, thumbprint_of_digest

# What others name a context by, without importing ssl themselves.
TlsContext = ssl.SSLContext

# Lifetime is governed by the trust document; this only outlives it.
_LIFETIME = timedelta(days=3652)
_CLOCK_SKEW = timedelta(days=1)


def make_certificate(signing_seed: bytes, name: str) -> tuple[bytes, bytes]:
    """A self-signed Ed25519 leaf and its key, both PEM.

    Args:
        signing_seed: 32 bytes that belong to this TLS key alone.
        name: Common and alternative name; shown, never trusted.
    """
    key = ed25519.Ed25519PrivateKey.from_private_bytes(signing_seed)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _LIFETIME)
        # CA:FALSE: the holder of a pinned certificate must not be able to issue children that pass for it.
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, None)
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), private


def spki_sha256(certificate: bytes) -> str:
    """The pin of a certificate, PEM or DER."""
    return sha256(_spki(certificate)).hexdigest()


def server_context(
    certificate: bytes, key: bytes, client_certificates: Sequence[bytes] | None = None
) -> ssl.SSLContext:
    """A listener's context; with `client_certificates` (PEM) a client must show one of exactly these.

    Rebuilt on every change of trust: a context never forgets a certificate it was given.
    """
    context = _PinningContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    # A ticket would let a second connection in without showing the certificate again.
    context.num_tickets = 0
    _load(context, certificate, key)
    if client_certificates is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.pins = frozenset(spki_sha256(known) for known in client_certificates)
        if client_certificates:
            context.load_verify_locations(cadata="\n".join(known.decode("ascii") for known in client_certificates))
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


def check_peer(connection: ssl.SSLSocket | ssl.SSLObject, pins: Collection[str]) -> None:
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

    def __new__(cls, protocol: int) -> Self:
        context = super().__new__(cls, protocol)
        context.pins = None
        return context


def _check_pinned(connection: ssl.SSLSocket | ssl.SSLObject) -> None:
    context = connection.context
    if isinstance(context, _PinningContext) and context.pins is not None:
        check_peer(connection, context.pins)


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.maximum_version = ssl.TLSVersion.TLSv1_3


def _spki(certificate: bytes) -> bytes:
    pem = certificate.lstrip().startswith(b"-----BEGIN")
    parsed = x509.load_pem_x509_certificate(certificate) if pem else x509.load_der_x509_certificate(certificate)
    public_key = parsed.public_key()
    if isinstance(public_key, ed25519.Ed25519PublicKey):
        # OpenSSL takes small-order points, for which anyone can write a signature.
        VerifyKey(public_key.public_bytes_raw())
    return public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


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

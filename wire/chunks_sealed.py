"""Chunks, manifests and capabilities as they lie in the store and travel: nobody in between learns more than sizes.

chunk id   = BLAKE2b(SHA-256(plaintext), key = id key)          a store does not betray its content
chunk key  = HKDF(content key, LP("manyarm/v1/chunk", id))
stored     = nonce 24 | XChaCha20-Poly1305(chunk key, zstd(plaintext), AAD = id)
manifest   = what a package is made of; sealed under a key of its own, both named in the sealed job
"""

import base64
import hashlib
import hmac
import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field

import zstandard
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError

from wire import canonical
from wire.chunks import MAX_CHUNK_BYTES, Source
from wire.errors import Code, Refused

ID_SIZE = 32
KEY_SIZE = 32
_NONCE = 24
_TAG = 16
# zstd adds a few bytes to what it cannot shrink.
MAX_STORED_BYTES = MAX_CHUNK_BYTES + 1024
MAX_MANIFEST_BYTES = 64 * 1024 * 1024
_LEVEL = 3
_END = bytes(ID_SIZE + 4)


@dataclass(frozen=True, slots=True)
class ChunkKeys:
    """The hub's two keys that name and open every chunk."""

    id_key: bytes = field(repr=False)
    content_key: bytes = field(repr=False)

    def chunk_id(self, sha256: bytes) -> bytes:
        return hashlib.blake2b(sha256, key=self.id_key, person=b"manyarm-chunk-id", digest_size=ID_SIZE).digest()

    def chunk_key(self, chunk_id: bytes) -> bytes:
        info = _length_prefixed(b"manyarm/v1/chunk", chunk_id)
        return HKDF(SHA256(), KEY_SIZE, None, info).derive(self.content_key)


def seal_chunk(key: bytes, chunk_id: bytes, plaintext: bytes) -> bytes:
    """The bytes at rest, which are the bytes on the wire."""
    if not 0 < len(plaintext) <= MAX_CHUNK_BYTES:
        raise ValueError(f"a chunk has 1 to {MAX_CHUNK_BYTES} bytes, not {len(plaintext)}")
    return _seal(key, chunk_id, _zstd().compressor.compress(plaintext))


def open_chunk(key: bytes, chunk_id: bytes, stored: bytes, length: int, sha256: bytes) -> bytes:
    """The plaintext of a chunk, which is exactly what the manifest says.

    Raises:
        Refused: BLOB_HASH, altered or another chunk; BLOB_SIZE; BLOB_TRUNC.
    """
    name = chunk_id.hex()[:16]
    if len(stored) > MAX_STORED_BYTES or not 0 < length <= MAX_CHUNK_BYTES:
        raise Refused(Code.BLOB_SIZE, f"chunk {name}: {len(stored)} bytes stored for {length}")
    packed = _open(key, chunk_id, stored, f"chunk {name}")
    # The frame's own word is compared first: the library would make room for whatever it says.
    try:
        if zstandard.frame_content_size(packed) != length:
            raise Refused(Code.BLOB_SIZE, f"chunk {name} is not {length} bytes long")
        plaintext = _zstd().decompressor.decompress(packed, max_output_size=length)
    except zstandard.ZstdError as error:
        raise Refused(Code.BLOB_HASH, f"chunk {name} does not decompress") from error
    if len(plaintext) != length:
        raise Refused(Code.BLOB_SIZE, f"chunk {name} is not {length} bytes long")
    if not hmac.compare_digest(hashlib.sha256(plaintext).digest(), sha256):
        raise Refused(Code.BLOB_HASH, f"chunk {name} is not what the manifest says")
    return plaintext


# Manifests


@dataclass(frozen=True, slots=True)
class ManifestChunk:
    id: bytes
    key: bytes = field(repr=False)
    sha256: bytes
    length: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """One package version: its whole, and the chunks that it is made of, in order."""

    package: str
    version: str
    extension: str
    size: int
    sha256: bytes
    chunks: tuple[ManifestChunk, ...]


_MAGIC = b"MAM1"
_ENTRY = ID_SIZE + KEY_SIZE + 32 + 4
_TEXT_MAX = 256
_HEAD_MAX = 4096


def encode_manifest(manifest: Manifest) -> bytes:
    """`MAM1 | u16 n | n bytes of canonical JSON | per chunk: id 32, key 32, sha256 32, u32 length`."""
    head = canonical.encode(
        {
            "package": manifest.package,
            "version": manifest.version,
            "extension": manifest.extension,
            "size": manifest.size,
            "sha256": manifest.sha256.hex(),
            "chunks": len(manifest.chunks),
        }
    )
    entries = b"".join(
        chunk.id + chunk.key + chunk.sha256 + chunk.length.to_bytes(4, "big") for chunk in manifest.chunks
    )
    return _MAGIC + len(head).to_bytes(2, "big") + head + entries


def decode_manifest(encoded: bytes) -> Manifest:
    """The manifest, whole and in itself consistent.

    Raises:
        Refused: BLOB_TRUNC, BLOB_SIZE, or ENV_SCHEMA naming the field.
    """
    if encoded[:4] != _MAGIC:
        raise Refused(Code.ENV_SCHEMA, "not a manifest of version 1", field="magic")
    head_size = int.from_bytes(encoded[4:6], "big")
    if head_size > _HEAD_MAX:
        raise Refused(Code.BLOB_SIZE, "the manifest's head is too long")
    head = canonical.decode(encoded[6 : 6 + head_size])
    if not isinstance(head, dict) or set(head) != {"package", "version", "extension", "size", "sha256", "chunks"}:
        raise Refused(Code.ENV_SCHEMA, "the manifest's head has other fields", field="manifest")
    package, version, extension = (_text(head, name) for name in ("package", "version", "extension"))
    size, count, sha256 = _count(head, "size"), _count(head, "chunks"), _digest(head)
    entries = memoryview(encoded)[6 + head_size :]
    if len(entries) != count * _ENTRY:
        short = len(entries) < count * _ENTRY
        raise Refused(Code.BLOB_TRUNC if short else Code.BLOB_SIZE, f"the manifest has not {count} entries")
    chunks = tuple(_entry(entries[at : at + _ENTRY]) for at in range(0, len(entries), _ENTRY))
    if sum(chunk.length for chunk in chunks) != size:
        raise Refused(Code.BLOB_SIZE, f"the manifest's chunks do not make {size} bytes")
    return Manifest(package, version, extension, size, sha256, chunks)


def seal_manifest(key: bytes, manifest_id: str, manifest: Manifest) -> bytes:
    """`key`: 32 random bytes, used for this manifest alone."""
    encoded = encode_manifest(manifest)
    if len(encoded) > MAX_MANIFEST_BYTES:
        raise Refused(Code.BLOB_SIZE, f"a manifest of {len(manifest.chunks)} chunks is too long")
    return _seal(key, _manifest_place(manifest_id), encoded)


def open_manifest(key: bytes, manifest_id: str, stored: bytes, sha256: str) -> Manifest:
    """A manifest as the sealed job names it.

    Args:
        key: From the job.
        manifest_id: From the job.
        stored: What the gateway served.
        sha256: Of the stored bytes, hex, from the job: the one word on what is right (never the carrier's).

    Raises:
        Refused: BLOB_HASH, BLOB_SIZE, BLOB_TRUNC, ENV_SCHEMA.
    """
    if len(stored) > MAX_MANIFEST_BYTES + 1024:
        raise Refused(Code.BLOB_SIZE, "the manifest is too long")
    if not hmac.compare_digest(hashlib.sha256(stored).hexdigest().encode(), sha256.encode()):
        raise Refused(Code.BLOB_HASH, "the manifest is not the one that the job names")
    return decode_manifest(_open(key, _manifest_place(manifest_id), stored, "the manifest"))


# The chunk stream of the gateway


def write_chunk_stream(chunks: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes]:
    """Per chunk `id 32 | u32 length | stored bytes`; then 36 zero bytes, without which a stream does not exist."""
    for chunk_id, stored in chunks:
        yield chunk_id + len(stored).to_bytes(4, "big")
        yield stored
    yield _END


def read_chunk_stream(stream: Source) -> Iterator[tuple[bytes, bytes]]:
    """Chunks as they come; nothing is believed of them.

    Raises:
        Refused: BLOB_TRUNC, it ended before its end; BLOB_SIZE, a chunk too long or bytes after the end.
    """
    while (head := _exactly(stream, ID_SIZE + 4)) != _END:
        length = int.from_bytes(head[ID_SIZE:], "big")
        if not 0 < length <= MAX_STORED_BYTES:
            raise Refused(Code.BLOB_SIZE, f"a chunk of {length} bytes in the stream")
        yield head[:ID_SIZE], _exactly(stream, length)
    if stream.read(1):
        raise Refused(Code.BLOB_SIZE, "bytes after the end of the chunk stream")


# Capabilities


@dataclass(frozen=True, slots=True)
class Capability:
    """What a spoke may fetch, and until when (seconds UTC); the gateway checks it without the database's word.

    `job`: the run whose artifacts it may bring, "" for none.
    """

    spoke: str
    manifests: tuple[str, ...]
    expires: int
    job: str = ""


_CAPABILITY = "mac1"
_MAX_CAPABILITY = 16 * 1024


def make_capability(mac_key: bytes, capability: Capability) -> str:
    """`mac1.<base64url of canonical JSON>.<base64url of the MAC>`; goes into a sealed job."""
    fields = asdict(capability) | {"manifests": list(capability.manifests)}
    body = canonical.encode(fields)
    return f"{_CAPABILITY}.{_base64(body)}.{_base64(_mac(mac_key, body))}"


def check_capability(mac_key: bytes, text: str, now: int) -> Capability:
    """The capability, if it is one of ours and still good.

    Raises:
        Refused: ENV_SIG, not made with this key, or mistyped; ENV_EXPIRED.
    """
    parts = text.split(".") if len(text) <= _MAX_CAPABILITY else []
    if len(parts) != 3 or parts[0] != _CAPABILITY:
        raise Refused(Code.ENV_SIG, "not a capability")
    body, mac = _unbase64(parts[1]), _unbase64(parts[2])
    # The MAC before the parser: what a stranger wrote is not looked into.
    if not hmac.compare_digest(_mac(mac_key, body), mac):
        raise Refused(Code.ENV_SIG, "the capability is not the hub's")
    capability = _capability(canonical.decode(body))
    if now >= capability.expires:
        raise Refused(Code.ENV_EXPIRED, "the capability has expired; the next job brings another")
    return capability


# Private steps


@dataclass(frozen=True, slots=True)
class _Zstd:
    compressor: zstandard.ZstdCompressor
    decompressor: zstandard.ZstdDecompressor


_local = threading.local()


def _zstd() -> _Zstd:
    """One a thread: they keep state, and are dear to make."""
    held: _Zstd | None = getattr(_local, "zstd", None)
    if held is None:
        held = _local.zstd = _Zstd(zstandard.ZstdCompressor(level=_LEVEL), zstandard.ZstdDecompressor())
    return held


def _seal(key: bytes, place: bytes, content: bytes) -> bytes:
    # Made from the content, for another release of zstd may pack the same chunk otherwise under the same key.
    nonce = hashlib.blake2b(content, key=key, person=b"manyarm-chunk-nc", digest_size=_NONCE).digest()
    return nonce + crypto_aead_xchacha20poly1305_ietf_encrypt(content, place, nonce, key)


def _open(key: bytes, place: bytes, stored: bytes, what: str) -> bytes:
    if len(stored) < _NONCE + _TAG:
        raise Refused(Code.BLOB_TRUNC, f"{what} is cut short")
    try:
        opened: bytes = crypto_aead_xchacha20poly1305_ietf_decrypt(stored[_NONCE:], place, stored[:_NONCE], key)
    except (CryptoError, ValueError, TypeError) as error:
        raise Refused(Code.BLOB_HASH, f"{what} was altered, or is another one") from error
    return opened


def _manifest_place(manifest_id: str) -> bytes:
    return _length_prefixed(b"manyarm/v1/manifest", manifest_id.encode())


def _entry(entry: memoryview) -> ManifestChunk:
    length = int.from_bytes(entry[96:], "big")
    if not 0 < length <= MAX_CHUNK_BYTES:
        raise Refused(Code.BLOB_SIZE, f"a chunk of {length} bytes in the manifest")
    return ManifestChunk(bytes(entry[:32]), bytes(entry[32:64]), bytes(entry[64:96]), length)


def _text(head: canonical.JsonObject, name: str) -> str:
    value = head[name]
    if not isinstance(value, str) or len(value) > _TEXT_MAX:
        raise Refused(Code.ENV_SCHEMA, f"at most {_TEXT_MAX} characters", field=name)
    return value


def _count(head: canonical.JsonObject, name: str) -> int:
    value = head[name]
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Refused(Code.ENV_SCHEMA, "a number from 0 on", field=name)
    return value


def _digest(head: canonical.JsonObject) -> bytes:
    value = head["sha256"]
    try:
        digest = bytes.fromhex(value) if isinstance(value, str) and len(value) == 64 else b""
    except ValueError:
        digest = b""
    if digest.hex() != value:
        raise Refused(Code.ENV_SCHEMA, "64 lowercase hex characters", field="sha256")
    return digest


def _capability(value: canonical.JsonValue) -> Capability:
    if isinstance(value, dict) and set(value) == {"spoke", "manifests", "expires", "job"}:
        spoke, manifests, expires, job = value["spoke"], value["manifests"], value["expires"], value["job"]
        if (
            isinstance(spoke, str)
            and isinstance(job, str)
            and isinstance(manifests, list)
            and all(isinstance(manifest, str) for manifest in manifests)
            and isinstance(expires, int)
            and not isinstance(expires, bool)
        ):
            return Capability(spoke, tuple(str(manifest) for manifest in manifests), expires, job)
    raise Refused(Code.ENV_SCHEMA, "the capability has other fields", field="capability")


def _mac(key: bytes, body: bytes) -> bytes:
    return hashlib.blake2b(body, key=key, person=b"manyarm-capabil.", digest_size=32).digest()


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode("ascii").rstrip("=")


def _unbase64(text: str) -> bytes:
    """Only the one spelling: what decodes to the same bytes in another way is refused."""
    try:
        content = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except ValueError:
        content = b""
    if _base64(content) != text:
        raise Refused(Code.ENV_SIG, "the capability is mistyped")
    return content


def _exactly(stream: Source, size: int) -> bytes:
    """Sockets give less than was asked for."""
    parts: list[bytes] = []
    left = size
    while left:
        part = stream.read(left)
        if not part:
            raise Refused(Code.BLOB_TRUNC, f"the chunk stream ended {left} bytes early")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _length_prefixed(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)

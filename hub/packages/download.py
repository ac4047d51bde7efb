"""A package version as plain bytes again, for whoever may download it."""

import hashlib
from collections.abc import Iterator

from hub.packages.chunk_store import ChunkStore
from hub.packages.errors import StoreDamaged
from hub.packages.manifests import manifest_of
from hub.storage.database import connection
from hub.storage.models import PackageVersion
from hub.storage.vault import Vault
from wire.chunks_sealed import ManifestChunk, open_chunk
from wire.errors import Refused


def open_package(store: ChunkStore, vault: Vault, row: PackageVersion) -> Iterator[bytes]:
    """The bytes, in pieces; each chunk is checked before it is given out.

    Raises:
        StoreDamaged: a chunk is missing or altered; nothing of it, and nothing after it, was given out.
    """
    # A web server asks for the pieces after the request, and its connection, have ended.
    with connection():
        manifest = manifest_of(vault, row)
        whole = hashlib.sha256()
        stored = store.read([chunk.id.hex() for chunk in manifest.chunks])
        for chunk, (_, content) in zip(manifest.chunks, stored, strict=True):
            plain = _opened(chunk, content)
            whole.update(plain)
            yield plain
    if whole.hexdigest() != row.sha256:
        raise StoreDamaged(f"package version {row.id} does not have the SHA-256 that its row says")


def _opened(chunk: ManifestChunk, stored: bytes) -> bytes:
    try:
        return open_chunk(chunk.key, chunk.id, stored, chunk.length, chunk.sha256)
    except Refused as refusal:
        raise StoreDamaged(f"chunk {chunk.id.hex()[:16]}… is damaged in the store: {refusal.code}") from refusal

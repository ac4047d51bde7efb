"""One upload under way: chunks into packs, then the archive looked into, then all of it made durable and known."""

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from itertools import chain, islice
from secrets import token_bytes
from typing import Any, Self

from hub.packages import negotiation
from hub.packages.chunk_store import ChunkStore, NewChunk, StoreReader
from hub.packages.errors import UploadDiffers
from hub.packages.incoming import PushListing
from hub.packages.inspection import inspect_archive
from hub.packages.names import PackageFile
from hub.packages.reading import ChunkReader
from hub.packages.sealed_keys import seal_manifest_key
from hub.storage.database import write_tx
from hub.storage.models import StoredManifest
from hub.storage.vault import Vault
from wire.chunks_sealed import ChunkKeys, Manifest, ManifestChunk, seal_chunk, seal_manifest
from wire.crash import crash_point
from wire.keys import new_id

# A few megabytes: enough for two threads to share, little enough to hold three times.
_BATCH = 128
_TASK = 32
_Listed = tuple[ManifestChunk, bytes]
_Sealed = tuple[str, bytes, int]


@dataclass(frozen=True, slots=True)
class Ingested:
    """A package whose bytes are stored; no version names it yet."""

    package: str
    version: str
    extension: str
    size: int
    sha256: str
    manifest_id: str
    manifest_sha256: str
    manifest_key_sealed: bytes = field(repr=False)
    chunks: int
    chunks_new: int
    bytes_new: int
    packs: tuple[str, ...] = ()

    def completion(self) -> dict[str, Any]:
        """The body of the operation `package.push-complete`."""
        return {
            "package": self.package,
            "version": self.version,
            "extension": self.extension,
            "manifest_id": self.manifest_id,
            "manifest_sha256": self.manifest_sha256,
            "manifest_key_sealed": self.manifest_key_sealed.hex(),
        }


class Upload:
    """What it wrote is removed unless it finishes; use it in `with`."""

    def __init__(self, file: PackageFile, store: ChunkStore, vault: Vault, keys: ChunkKeys, workers: Executor) -> None:
        self._file = file
        self._store = store
        self._vault = vault
        self._keys = keys
        self._workers = workers
        self._writer = store.writer()
        self._seen: set[str] = set()
        self._new: dict[str, NewChunk] = {}
        self._taken: list[ManifestChunk] = []
        self._digest = hashlib.sha256()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # After `keep` there is nothing left to remove.
        self._writer.abandon()

    def take(self, chunks: Iterable[bytes]) -> None:
        """Put those of the chunks that the store lacks into packs.

        Raises:
            NoSpace: the disk is full.
        """
        stream = iter(chunks)
        listing: Future[list[_Listed]] | None = None
        sealing: Iterator[list[_Sealed]] = iter(())
        while batch := list(islice(stream, _BATCH)):
            # While this batch is cut and digested here, the last is hashed and the one before it sealed by the others.
            following = self._workers.submit(self._list, batch)
            for chunk in batch:
                self._digest.update(chunk)
            if listing is not None:
                sealing = self._seal_new(listing.result(), sealing)
            listing = following
        if listing is not None:
            self._write(self._seal_new(listing.result(), sealing))

    def finish(self) -> Ingested:
        """The chunks taken are the whole file, in order.

        Raises:
            ArchiveUnfit: it breaks a rule.
        """
        with self._store.reading() as stored:
            inspect_archive(self._reader(self._taken, stored), self._file.extension)
        return self._keep(self._taken, self._digest.hexdigest())

    def finish_listed(self, listing: PushListing) -> Ingested:
        """The chunks taken are those that the hub lacked of the listed ones.

        Raises:
            UploadDiffers: together they are another file.
            ArchiveUnfit: it breaks a rule.
        """
        sent = {chunk.sha256: chunk for chunk in self._taken}
        chunks = [self._held(sent, bytes.fromhex(sha256), length) for sha256, length in listing.chunks]
        with self._store.reading() as stored:
            package = self._reader(chunks, stored)
            if package.sha256().hex() != listing.sha256:
                raise UploadDiffers("the chunks together are not the file that the listing names: push the whole file")
            inspect_archive(package, self._file.extension)
        return self._keep(chunks, listing.sha256)

    def _list(self, batch: list[bytes]) -> list[_Listed]:
        return [(self._held({}, hashlib.sha256(chunk).digest(), len(chunk)), chunk) for chunk in batch]

    def _held(self, sent: dict[bytes, ManifestChunk], sha256: bytes, length: int) -> ManifestChunk:
        known = sent.get(sha256)
        if known is not None:
            return known
        chunk_id = self._keys.chunk_id(sha256)
        return ManifestChunk(chunk_id, self._keys.chunk_key(chunk_id), sha256, length)

    def _seal_new(self, batch: list[_Listed], before: Iterator[list[_Sealed]]) -> Iterator[list[_Sealed]]:
        """Have the batch sealed, and write meanwhile what was sealed before."""
        self._taken += [chunk for chunk, _ in batch]
        fresh = {chunk.id.hex(): (chunk, plain) for chunk, plain in batch if chunk.id.hex() not in self._seen}
        self._seen.update(fresh)
        for known in self._store.known(fresh):
            del fresh[known]
        waiting = list(fresh.values())
        sealing = self._workers.map(_sealed, [waiting[at : at + _TASK] for at in range(0, len(waiting), _TASK)])
        self._write(before)
        return sealing

    def _write(self, sealed: Iterable[list[_Sealed]]) -> None:
        for name, stored, plain_length in chain.from_iterable(sealed):
            self._new[name] = NewChunk(self._writer.add(bytes.fromhex(name), stored), plain_length)

    def _reader(self, chunks: list[ManifestChunk], stored: StoreReader) -> ChunkReader:
        places = self._store.places(chunk.id.hex() for chunk in chunks if chunk.id.hex() not in self._new)

        def fetch(name: str) -> bytes:
            new = self._new.get(name)
            return self._writer.read(new.place) if new is not None else stored.read(name, places.get(name))

        return ChunkReader(chunks, fetch)

    def _keep(self, chunks: list[ManifestChunk], sha256: str) -> Ingested:
        size = sum(chunk.length for chunk in chunks)
        version, extension = self._file.version.text, self._file.extension
        manifest = Manifest(self._file.id, version, extension, size, bytes.fromhex(sha256), tuple(chunks))
        manifest_id, key = new_id(), token_bytes(32)
        sealed = seal_manifest(key, manifest_id, manifest)
        lengths = {chunk.id.hex(): chunk.length for chunk in chunks}
        new = lengths.keys() - negotiation.held(self._file.id, lengths)
        packs = self._writer.keep()
        crash_point("upload.packed")
        with write_tx():
            self._store.insert(packs, self._new)
            StoredManifest.create(id=manifest_id, sealed=sealed, size=len(sealed))
        crash_point("upload.stored")
        return Ingested(
            package=self._file.id,
            version=version,
            extension=extension,
            size=size,
            sha256=sha256,
            manifest_id=manifest_id,
            manifest_sha256=hashlib.sha256(sealed).hexdigest(),
            manifest_key_sealed=seal_manifest_key(self._vault, manifest_id, key),
            chunks=len(chunks),
            chunks_new=len(new),
            bytes_new=sum(lengths[name] for name in new),
            packs=tuple(packs),
        )


def _sealed(chunks: list[_Listed]) -> list[_Sealed]:
    return [(chunk.id.hex(), seal_chunk(chunk.key, chunk.id, plain), len(plain)) for chunk, plain in chunks]

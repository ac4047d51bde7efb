"""Takes an upload in: cuts it into chunks, seals the new ones into packs, looks into the archive, then indexes it.

    bytes > cut > SHA-256 > keyed id > (new only) zstd + seal > pack      ... inspect > manifest > one transaction

The chunks themselves are the encrypted temporary file: an upload that fails leaves no pack, no row and no plain byte.
The portal process does this; the version itself is made by the engine (hub/packages/feed.py).
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from hub.errors import TooLarge
from hub.packages import garbage, negotiation
from hub.packages.chunk_store import ChunkStore
from hub.packages.errors import NoSpace, UploadDiffers
from hub.packages.incoming import LISTING_MAX, Counted, PushListing, Readable, read_listing, read_missing
from hub.packages.names import PackageFile, parse_package_name
from hub.packages.upload import Ingested, Upload
from hub.storage.database import connection, write_tx
from hub.storage.models import StoredManifest
from hub.storage.vault import Vault
from wire.chunks import split

_WORKERS = 2
_UPLOAD_BYTES = 2 * 1024**3


class Ingestion:
    """Takes uploads in; one object serves all threads.

    Args:
        store: Where chunks go.
        vault: Opens the chunk keys and the content key.
        upload_bytes: What one package may have.
        clock: Seconds that only rise.
    """

    def __init__(
        self,
        store: ChunkStore,
        vault: Vault,
        *,
        upload_bytes: int = _UPLOAD_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._vault = vault
        self._keys = vault.chunk_keys()
        self._upload_bytes = upload_bytes
        self._clock = clock
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="chunks")

    def whole(self, file: PackageFile, stream: Readable, *, length: int | None = None) -> Ingested:
        """Take in a whole file.

        Args:
            file: What it is called.
            stream: Its bytes; not closed.
            length: How many were announced, if any were.

        Raises:
            UploadTruncated, UploadTooSlow, TooLarge, NoSpace, ArchiveUnfit: nothing of it is left.
        """
        body = self._counted(stream, length)
        with connection(), self._upload(file) as upload:
            upload.take(split(body))
            return upload.finish()

    def chunked(self, stream: Readable, *, length: int | None = None) -> Ingested:
        """Take in a listing and the chunks that `negotiation.missing` asked for.

        Raises:
            UploadDiffers: a chunk, or the whole, is not what the listing says. And as `whole`.
        """
        body = self._counted(stream, length, beside=LISTING_MAX)
        request = read_listing(body)
        file = parse_package_name(request.get("name"))
        listing = PushListing.from_json(request)
        if listing.size > self._upload_bytes:
            raise TooLarge(f"the package has {listing.size} bytes; it may have {self._upload_bytes}")
        with connection(), self._upload(file) as upload:
            missing = negotiation.missing(self._keys, file.id, listing)
            sent = read_missing(body, listing, missing)
            upload.take(_as_listed(listing, sent))
            return upload.finish_listed(listing)

    def missing(self, file: PackageFile, listing: PushListing) -> list[int]:
        """The indexes of the chunks that a pusher must send; the caller may read the package."""
        with connection():
            return negotiation.missing(self._keys, file.id, listing)

    def discard(self, ingested: Ingested) -> None:
        """Forget what was taken in: the engine refused the version."""
        with connection():
            with write_tx():
                StoredManifest.delete().where(StoredManifest.id == ingested.manifest_id).execute()
            garbage.drop_unused(self._store, ingested.packs)

    def _counted(self, stream: Readable, length: int | None, *, beside: int = 0) -> Counted:
        """The body, which may have what a package may have and so much beside it."""
        if length is not None and length + length // 10 > self._store.folder.free_bytes:
            raise NoSpace(
                f"the hub's disk has no room for {length} bytes: nothing was kept; free some, then push again"
            )
        return Counted(stream, limit=self._upload_bytes + beside, length=length, clock=self._clock)

    def _upload(self, file: PackageFile) -> Upload:
        return Upload(file, self._store, self._vault, self._keys, self._workers)


def _as_listed(listing: PushListing, sent: Iterable[tuple[int, bytes]]) -> Iterator[bytes]:
    for index, chunk in sent:
        if hashlib.sha256(chunk).hexdigest() != listing.chunks[index][0]:
            raise UploadDiffers(f"chunk {index} is not what the listing says: its SHA-256 differs")
        yield chunk

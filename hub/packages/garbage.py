"""Takes back the room of chunks that no version uses any more, and of what crashes have left."""

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hub.packages.chunk_store import ChunkStore
from hub.packages.packs import PackReader, PackWriter, Place
from hub.states import PackState
from hub.storage.database import connection, write_tx
from hub.storage.models import Chunk, Pack, PackageChunk, PackageVersion, StoredManifest
from wire.crash import crash_point

logger = logging.getLogger(__name__)

# An upload whose version has not been made after this long never will be.
GRACE_S = 3_600
# A pack is rewritten when less than this part of it is still used: else a large one would be kept for one chunk.
_WORTH_KEEPING = 0.5


@dataclass(frozen=True, slots=True)
class Collected:
    """What went."""

    manifests: int = 0
    chunks: int = 0
    packs: int = 0
    bytes: int = 0


def collect(store: ChunkStore, now_ms: int, grace_s: float = GRACE_S) -> Collected:
    """One round; the engine runs it each hour. Uploads under way and downloads are not disturbed.

    Args:
        store: The chunks.
        now_ms: UTC milliseconds.
        grace_s: What is younger is left alone: its upload may still become a version.
    """
    before = now_ms - int(grace_s * 1_000)
    with connection():
        before_bytes = sum(store.folder.sizes().values())
        manifests = _drop_manifests(before)
        old = [row.id for row in Pack.select(Pack.id).where(Pack.created_at < before)]
        chunks, packs = _drop_chunks(store, old)
        for pack in old:
            packs += _rewrite_if_worth(store, pack)
        _remove_strays(store, now_ms / 1_000 - grace_s)
        freed = before_bytes - sum(store.folder.sizes().values())
    if manifests or chunks or packs:
        logger.info("chunks collected", extra={"chunks": chunks, "packs": packs, "bytes": freed})
    return Collected(manifests, chunks, packs, max(0, freed))


def drop_unused(store: ChunkStore, packs: Sequence[str]) -> None:
    """The chunks of these packs that no version uses, and the packs that are empty then."""
    if packs:
        _drop_chunks(store, packs)


def _drop_manifests(before: int) -> int:
    used = PackageVersion.select(PackageVersion.manifest_id)
    with write_tx():
        stale = StoredManifest.delete().where(StoredManifest.created_at < before, StoredManifest.id.not_in(used))
        return int(stale.execute())


def _drop_chunks(store: ChunkStore, packs: Iterable[str]) -> tuple[int, int]:
    """A pack at a time, so that no transaction is long; files go after the commit that forgets them."""
    dropped_chunks = dropped_packs = 0
    for pack in packs:
        with write_tx():
            used = PackageChunk.select(PackageChunk.chunk).where(PackageChunk.chunk == Chunk.id)
            unused = Chunk.delete().where(Chunk.pack == pack, ~Chunk.id.in_(used))
            dropped_chunks += int(unused.execute())
            empty = not Chunk.select().where(Chunk.pack == pack).exists()
            if empty:
                Pack.delete().where(Pack.id == pack).execute()
        crash_point("garbage.forgotten")
        if empty:
            store.folder.remove(pack)
            dropped_packs += 1
    return dropped_chunks, dropped_packs


def _rewrite_if_worth(store: ChunkStore, pack: str) -> int:
    """Copy the chunks still used into a new pack, if most of the old one is waste."""
    columns = (Chunk.id, Chunk.offset, Chunk.length)
    left = [
        (row.id, row.offset, row.length)
        for row in Chunk.select(*columns).where(Chunk.pack == pack).order_by(Chunk.offset)
    ]
    size = store.folder.sizes().get(pack, 0)
    if not left or sum(length for _, _, length in left) > size * _WORTH_KEEPING:
        return 0
    writer = store.writer()
    try:
        with store.folder.open(pack) as old:
            moved = _copied(writer, old, left)
        if moved is None:
            return 0
        kept = writer.keep()
        crash_point("garbage.copied")
        with write_tx():
            rows = [{"id": new, "size": new_size, "state": PackState.CLOSED} for new, new_size in kept.items()]
            Pack.insert_many(rows).execute()
            for chunk_id, place in moved.items():
                Chunk.update(pack=place.pack, offset=place.offset).where(Chunk.id == chunk_id).execute()
            Pack.delete().where(Pack.id == pack).execute()
    finally:
        writer.abandon()
    crash_point("garbage.moved")
    store.folder.remove(pack)
    return 1


def _copied(writer: PackWriter, old: PackReader, chunks: Iterable[tuple[str, int, int]]) -> dict[str, Place] | None:
    """Where the chunks lie now; None if the old pack is cut short: then it stays as it is, for a person to look at."""
    moved = {}
    for chunk_id, offset, length in chunks:
        stored = old.read(offset, length)
        if len(stored) != length:
            logger.warning("pack is damaged", extra={"chunk": chunk_id, "expected": length, "found": len(stored)})
            return None
        moved[chunk_id] = writer.add(bytes.fromhex(chunk_id), stored)
    return moved


def _remove_strays(store: ChunkStore, older_than_s: float) -> None:
    """Files of uploads that died; the row of a finished one is there before its file is old."""
    known = {row.id for row in Pack.select(Pack.id)}
    for stray in store.folder.strays(known, min(older_than_s, time.time())):
        stray.unlink(missing_ok=True)
        logger.info("left-over pack removed", extra={"pack": stray.name})

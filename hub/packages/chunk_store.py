"""The chunk store: pack files, and their index in the rows Pack and Chunk. It hands out ciphertext only."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from hub.packages.errors import ChunkMissing
from hub.packages.many import among, parts_of, tuples_of
from hub.packages.packs import PackFolder, PackReader, PackWriter, Place
from hub.states import PackState
from hub.storage.models import Chunk, Pack


@dataclass(frozen=True, slots=True)
class NewChunk:
    """A chunk that an upload has put into one of its packs."""

    place: Place
    plain_length: int


class ChunkStore:
    """May be used by several threads and processes at once.

    Args:
        root: `<home>/chunks`.
    """

    def __init__(self, root: Path) -> None:
        self.folder = PackFolder(root)

    def writer(self) -> PackWriter:
        return self.folder.writer()

    def known(self, ids: Iterable[str]) -> set[str]:
        """Those of the ids that are stored."""
        return {chunk_id for (chunk_id,) in tuples_of(Chunk.select(Chunk.id).where(among(Chunk.id, ids)))}

    def places(self, ids: Iterable[str]) -> dict[str, Place]:
        """Where the stored ones of the ids lie."""
        found = Chunk.select(Chunk.id, Chunk.pack, Chunk.offset, Chunk.length).where(among(Chunk.id, ids))
        return {chunk_id: Place(pack, offset, length) for chunk_id, pack, offset, length in tuples_of(found)}

    def reading(self) -> "StoreReader":
        """For one answer or one look into an archive; packs stay open until its end."""
        return StoreReader(self)

    def read(self, ids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """The stored bytes of chunks, in the order of the ids.

        Raises:
            ChunkMissing: one is not stored, or its pack is shorter than the row says.
        """
        with self.reading() as reader:
            places = self.places(ids)
            for chunk_id in ids:
                yield chunk_id, reader.read(chunk_id, places.get(chunk_id))

    @staticmethod
    def insert(packs: Mapping[str, int], chunks: Mapping[str, NewChunk]) -> None:
        """Put durable packs and their chunks into the index; inside the caller's transaction.

        A chunk that another upload has put in meanwhile stays where that one put it.
        """
        if not packs:
            return
        Pack.insert_many(
            [{"id": pack, "size": size, "state": PackState.CLOSED} for pack, size in packs.items()]
        ).execute()
        columns = (Chunk.id, Chunk.pack, Chunk.offset, Chunk.length, Chunk.plain_length)
        rows = [
            (chunk_id, chunk.place.pack, chunk.place.offset, chunk.place.length, chunk.plain_length)
            for chunk_id, chunk in chunks.items()
        ]
        for part in parts_of(rows):
            Chunk.insert_many(part, fields=columns).on_conflict_ignore().execute()


class StoreReader:
    """Reads chunks, each pack opened once."""

    def __init__(self, store: ChunkStore) -> None:
        self._store = store
        self._open: dict[str, PackReader] = {}
        self._stack = ExitStack()

    def read(self, chunk_id: str, place: Place | None = None) -> bytes:
        """One chunk as stored.

        Args:
            chunk_id: Of the chunk.
            place: Where it lay when the caller asked; looked up where it is not given.

        Raises:
            ChunkMissing: it is not there.
        """
        stored = self._read_at(place) if place is not None else None
        if stored is None:
            # Not asked yet, or the pack was rewritten meanwhile: then the row names another one by now.
            found = self._store.places([chunk_id]).get(chunk_id)
            stored = self._read_at(found) if found is not None else None
        if stored is None:
            raise ChunkMissing(chunk_id)
        return stored

    def _read_at(self, place: Place) -> bytes | None:
        pack = self._open.get(place.pack)
        if pack is None:
            try:
                pack = self._stack.enter_context(self._store.folder.open(place.pack))
            except FileNotFoundError:
                return None
            self._open[place.pack] = pack
        stored = pack.read(place.offset, place.length)
        return stored if len(stored) == place.length else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

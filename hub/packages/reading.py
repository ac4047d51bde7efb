"""A package as a file to read and seek in, though it lies in sealed chunks: only what is read is opened."""

import hashlib
import io
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from wire.chunks_sealed import ManifestChunk, open_chunk

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# Archives are walked forwards, with a look back at a directory: a few chunks at hand are enough.
_KEPT = 8


class ChunkReader(io.RawIOBase):
    """Seekable, read-only.

    Args:
        chunks: In order; together they are the file.
        stored: The sealed bytes of one chunk, by its id.
    """

    def __init__(self, chunks: Sequence[ManifestChunk], stored: Callable[[str], bytes]) -> None:
        super().__init__()
        self._chunks = chunks
        self._stored = stored
        self._ends = list(accumulate(chunk.length for chunk in chunks))
        self.size = self._ends[-1] if self._ends else 0
        self._at = 0
        self._kept: OrderedDict[int, bytes] = OrderedDict()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError(f"position {base + offset} lies before the file's beginning")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        if self._at >= self.size:
            return 0
        index = bisect_right(self._ends, self._at)
        plain = self._plain(index)
        view = memoryview(buffer).cast("B")
        start = self._at - (self._ends[index] - self._chunks[index].length)
        piece = plain[start : start + len(view)]
        view[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def sha256(self) -> bytes:
        """Of the whole file; the position stays."""
        digest = hashlib.sha256()
        for index in range(len(self._chunks)):
            digest.update(self._plain(index))
        return digest.digest()

    def _plain(self, index: int) -> bytes:
        kept = self._kept.get(index)
        if kept is not None:
            self._kept.move_to_end(index)
            return kept
        chunk = self._chunks[index]
        plain = open_chunk(chunk.key, chunk.id, self._stored(chunk.id.hex()), chunk.length, chunk.sha256)
        self._kept[index] = plain
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return plain

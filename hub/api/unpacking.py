"""A body that came packed (Content-Encoding: gzip), read as what it holds, never more in memory than was asked for."""

import zlib
from typing import Protocol

from hub.errors import Invalid

_READ_BYTES = 256 * 1024
_GZIP = 31


class Readable(Protocol):
    """A request's body."""

    def read(self, size: int = -1, /) -> bytes: ...


class Unpacked:
    """The bytes inside a gzip stream. Whoever reads keeps the count: it may hold a thousand times its size."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._inflate = zlib.decompressobj(_GZIP)

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes (negative: some), fewer only at the end.

        Raises:
            Invalid: it is no gzip, is cut off, or goes on after its end.
        """
        missing = size if size >= 0 else _READ_BYTES
        pieces = []
        while missing and not self._inflate.eof:
            piece = self._next(missing)
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)

    def _next(self, most: int) -> bytes:
        packed = self._inflate.unconsumed_tail or self._stream.read(_READ_BYTES)
        if not packed:
            raise Invalid("the gzip body is cut off")
        try:
            piece = self._inflate.decompress(packed, most)
        except zlib.error as error:
            raise Invalid("the body is not the gzip that its Content-Encoding says") from error
        if self._inflate.eof and (self._inflate.unused_data or self._stream.read(1)):
            raise Invalid("the gzip body goes on after its end")
        return piece

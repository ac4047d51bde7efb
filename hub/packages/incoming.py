"""How the bytes of an upload are read: counted, limited, and given up on when they trickle."""

import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from hub.errors import Invalid, TooLarge
from hub.packages.errors import UploadDiffers, UploadTooSlow, UploadTruncated
from wire.chunks import MAX_CHUNK_BYTES

LISTING_MAX = 64 * 1024 * 1024
CHUNKS_MAX = 1_000_000
PATIENCE_S = 30
SLOWEST_BYTES_S = 1_024
_LENGTH = struct.Struct(">I")


class Readable(Protocol):
    """A request's body."""

    def read(self, size: int = -1, /) -> bytes: ...


class Counted:
    """A body with an end, a limit and a clock.

    Args:
        stream: Read to its end; not closed.
        limit: Bytes that it may have at most.
        length: Bytes that were announced; None where nothing was.
        clock: Seconds that only rise.
    """

    def __init__(self, stream: Readable, *, limit: int, length: int | None, clock: Callable[[], float]) -> None:
        if length is not None and length > limit:
            raise TooLarge(f"the upload has {length} bytes; a package may have {limit}")
        self._stream = stream
        self._limit = limit
        self._length = length
        self._clock = clock
        self._started_at = clock()
        self.count = 0

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; empty at the end.

        Raises:
            UploadTruncated: it ended before the announced length, or the connection broke.
            TooLarge: it goes on past the limit.
            UploadTooSlow: after half a minute there is less than a kilobyte for each second.
        """
        wanted = size if size >= 0 else 1 << 20
        try:
            piece = self._stream.read(wanted)
        except Exception as error:  # Web servers have errors of their own for a lost client.
            raise UploadTruncated(f"the connection broke after {self.count} bytes") from error
        self.count += len(piece)
        if self.count > self._limit:
            raise TooLarge(f"the upload has more than {self._limit} bytes, which is the most that a package may have")
        if not piece and wanted and self._length is not None and self.count < self._length:
            raise UploadTruncated(f"the upload ended after {self.count} of {self._length} bytes: nothing was kept")
        self._give_up_if_slow()
        return piece

    def read_exactly(self, size: int) -> bytes:
        """All of them, or UploadTruncated."""
        pieces, missing = [], size
        while missing:
            piece = self.read(missing)
            if not piece:
                raise UploadTruncated(f"the upload ended after {self.count} bytes, in the middle of a chunk")
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)

    def _give_up_if_slow(self) -> None:
        waited = self._clock() - self._started_at
        if waited > PATIENCE_S and self.count < waited * SLOWEST_BYTES_S:
            raise UploadTooSlow(f"only {self.count} bytes came in {waited:.0f} s: nothing was kept; push again")


@dataclass(frozen=True, slots=True)
class PushListing:
    """What a pusher holds: the whole file, and the chunks that make it, in order.

    Attributes:
        chunks: (SHA-256 in hex, bytes) of each.
    """

    size: int
    sha256: str
    chunks: tuple[tuple[str, int], ...]

    def __post_init__(self) -> None:
        if not _is_sha256(self.sha256):
            raise Invalid("expected 64 lowercase hexadecimal characters", field="sha256")
        if len(self.chunks) > CHUNKS_MAX:
            raise Invalid(f"{len(self.chunks)} chunks; expected at most {CHUNKS_MAX}", field="chunks")
        for index, (sha256, length) in enumerate(self.chunks):
            if not _is_sha256(sha256) or not 0 < length <= MAX_CHUNK_BYTES:
                raise Invalid(f"expected [SHA-256 in hex, 1 to {MAX_CHUNK_BYTES} bytes]", field=f"chunks.{index}")
        if sum(length for _, length in self.chunks) != self.size:
            raise Invalid("the lengths of the chunks do not add up to it", field="size")

    @classmethod
    def from_json(cls, value: Any) -> "PushListing":
        """Read a listing; fields besides size, sha256 and chunks are the caller's business.

        Raises:
            Invalid: with the field at fault.
        """
        if not isinstance(value, dict):
            raise Invalid("expected an object with size, sha256 and chunks")
        size, sha256, chunks = value.get("size"), value.get("sha256"), value.get("chunks")
        if type(size) is not int or size < 0:
            raise Invalid("expected a whole number of bytes", field="size")
        if not isinstance(sha256, str):
            raise Invalid("expected text", field="sha256")
        if not isinstance(chunks, list):
            raise Invalid("expected a list of [SHA-256, bytes]", field="chunks")
        return cls(size, sha256, tuple(_entry(index, entry) for index, entry in enumerate(chunks)))

    def to_json(self) -> dict[str, Any]:
        return {"size": self.size, "sha256": self.sha256, "chunks": [list(entry) for entry in self.chunks]}


def read_listing(body: Counted) -> dict[str, Any]:
    """The JSON object at the start of a push: `u32 n | n bytes`.

    Raises:
        Invalid: it is none.
    """
    (length,) = _LENGTH.unpack(body.read_exactly(_LENGTH.size))
    if length > LISTING_MAX:
        raise TooLarge(f"a listing of {length} bytes; expected at most {LISTING_MAX}")
    try:
        value = json.loads(body.read_exactly(length).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Invalid("the listing is no JSON") from error
    if not isinstance(value, dict):
        raise Invalid("the listing is no JSON object")
    return value


def read_missing(body: Counted, listing: PushListing, missing: list[int]) -> Iterator[tuple[int, bytes]]:
    """The chunks that a pusher sends, `u32 length | bytes` each, in the order of the indexes.

    Raises:
        UploadDiffers: one has another length than the listing says, or more came than was asked for.
    """
    for index in missing:
        (length,) = _LENGTH.unpack(body.read_exactly(_LENGTH.size))
        if length != listing.chunks[index][1]:
            raise UploadDiffers(f"chunk {index} has {length} bytes; the listing says {listing.chunks[index][1]}")
        yield index, body.read_exactly(length)
    if body.read(1):
        raise UploadDiffers("more bytes came than the chunks that were missing")


def _entry(index: int, entry: object) -> tuple[str, int]:
    match entry:
        case [str(sha256), int(length)] if type(length) is int:
            return sha256, length
    raise Invalid("expected [SHA-256 in hex, bytes]", field=f"chunks.{index}")


def _is_sha256(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")

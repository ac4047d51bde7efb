"""A long plaintext sealed piece by piece, where the end is part of what is sealed.

libsodium's secretstream refuses reordered, dropped and altered pieces, but a stream cut after any piece opens cleanly
unless the reader insists on the FINAL mark. Here is the reader that insists: once, at the end of the bytes.
"""

from collections.abc import Iterable, Iterator
from typing import BinaryIO

from nacl.bindings import crypto_secretstream_xchacha20poly1305_ABYTES as PIECE_OVERHEAD
from nacl.bindings import crypto_secretstream_xchacha20poly1305_HEADERBYTES as STREAM_HEADER_SIZE
from nacl.bindings import crypto_secretstream_xchacha20poly1305_init_pull as init_pull
from nacl.bindings import crypto_secretstream_xchacha20poly1305_init_push as init_push
from nacl.bindings import crypto_secretstream_xchacha20poly1305_pull as pull
from nacl.bindings import crypto_secretstream_xchacha20poly1305_push as push
from nacl.bindings import crypto_secretstream_xchacha20poly1305_state as StreamState  # noqa: N812  A class in C's spelling.
from nacl.bindings import crypto_secretstream_xchacha20poly1305_TAG_FINAL as FINAL
from nacl.bindings import crypto_secretstream_xchacha20poly1305_TAG_MESSAGE as MESSAGE
from nacl.exceptions import CryptoError

from hub.errors import FileDamaged, FileTruncated

__all__ = ["PIECE_OVERHEAD", "PIECE_SIZE", "STREAM_HEADER_SIZE", "open_stream", "pieces_of", "seal_stream"]

PIECE_SIZE = 64 * 1024


def seal_stream(key: bytes, head: bytes, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The stream's own header, then each piece sealed; the first is bound to `head` and that header.

    Args:
        key: Used for this stream alone.
        head: Bytes that stand before the stream and must not be exchanged.
        pieces: PIECE_SIZE each but the last, as `pieces_of` gives them.
    """
    state = StreamState()
    header = bytes(init_push(state, key))
    yield header
    bound: bytes | None = head + header
    last: bytes | None = None
    for piece in pieces:
        if last is not None:
            yield bytes(push(state, last, bound, MESSAGE))
            bound = None
        last = piece
    yield bytes(push(state, last or b"", bound, FINAL))


def open_stream(key: bytes, head: bytes, stream: BinaryIO, name: str) -> Iterator[bytes]:
    """The plaintext pieces, in order. What came before an error must be thrown away by whoever took it.

    Raises:
        FileTruncated: the bytes end before the FINAL mark.
        FileDamaged: a piece does not open, or bytes follow the FINAL mark.
    """
    header = stream.read(STREAM_HEADER_SIZE)
    if len(header) < STREAM_HEADER_SIZE:
        raise FileTruncated(f"{name}: it ends inside its header")
    state = StreamState()
    init_pull(state, header, key)
    bound: bytes | None = head + header
    while True:
        sealed = stream.read(PIECE_SIZE + PIECE_OVERHEAD)
        if len(sealed) < PIECE_OVERHEAD:
            raise FileTruncated(f"{name}: it ends before its final mark")
        try:
            piece, tag = pull(state, sealed, bound)
        except (CryptoError, RuntimeError, ValueError) as error:
            raise FileDamaged(f"{name}: it was altered, or belongs elsewhere") from error
        bound = None
        if tag == FINAL:
            if stream.read(1):
                raise FileDamaged(f"{name}: bytes follow its final mark")
            yield bytes(piece)
            return
        yield bytes(piece)


def pieces_of(source: BinaryIO | Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of PIECE_SIZE, the last one shorter."""
    if not hasattr(source, "read"):
        yield from _regrouped(source)
        return
    while piece := source.read(PIECE_SIZE):
        # A pipe may give less than asked; only the last piece may be short.
        while len(piece) < PIECE_SIZE and (more := source.read(PIECE_SIZE - len(piece))):
            piece += more
        yield piece


def _regrouped(parts: Iterable[bytes]) -> Iterator[bytes]:
    waiting = bytearray()
    for part in parts:
        waiting += part
        while len(waiting) >= PIECE_SIZE:
            yield bytes(waiting[:PIECE_SIZE])
            del waiting[:PIECE_SIZE]
    if waiting:
        yield bytes(waiting)

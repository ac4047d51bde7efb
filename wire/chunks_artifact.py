"""An artifact on its way from a spoke to the hub: a stream sealed to the hub's box key, that has an end or is nothing.

    MAA1 | CEK wrapped to the hub-box 80 | secretstream header 24 | pieces of 64 KiB + 17, the last one FINAL

The context (the artifact's id, which the signed result names with its size and SHA-256) is bound to the first piece.
"""

import secrets
from collections.abc import Iterator, Sequence

from nacl import bindings

from wire.chunks import Source
from wire.errors import Code, Refused
from wire.keys import WRAP_SIZE, BoxKey, BoxPublicKey

_MAGIC = b"MAA1"
_PIECE = 64 * 1024
_OVERHEAD = bindings.crypto_secretstream_xchacha20poly1305_ABYTES
_HEADER = bindings.crypto_secretstream_xchacha20poly1305_HEADERBYTES
_FINAL = bindings.crypto_secretstream_xchacha20poly1305_TAG_FINAL
_MESSAGE = bindings.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE


def seal_artifact(stream: Source, box: BoxPublicKey, context: str) -> Iterator[bytes]:
    """The sealed bytes, piece by piece; an empty stream is one empty final piece."""
    cek = secrets.token_bytes(32)
    state = bindings.crypto_secretstream_xchacha20poly1305_state()
    header = bindings.crypto_secretstream_xchacha20poly1305_init_push(state, cek)
    yield _MAGIC + box.wrap(cek) + header
    place: bytes | None = _place(context)
    piece = _up_to(stream, _PIECE)
    while True:
        following = _up_to(stream, _PIECE) if len(piece) == _PIECE else b""
        tag = _MESSAGE if following else _FINAL
        yield bindings.crypto_secretstream_xchacha20poly1305_push(state, piece, place, tag)
        if tag == _FINAL:
            return
        piece, place = following, None


def open_artifact(stream: Source, boxes: Sequence[BoxKey], context: str) -> Iterator[bytes]:
    """The plaintext, piece by piece; the caller throws all of it away if this raises, as it may at the very end.

    Raises:
        Refused: ENV_SEAL, for none of these keys; BLOB_HASH, altered; BLOB_TRUNC, cut; BLOB_SIZE, bytes after the end.
    """
    head = _up_to(stream, len(_MAGIC) + WRAP_SIZE + _HEADER)
    if len(head) != len(_MAGIC) + WRAP_SIZE + _HEADER:
        raise Refused(Code.BLOB_TRUNC, "the artifact ended in its head")
    if head[:4] != _MAGIC:
        raise Refused(Code.BLOB_HASH, "not an artifact of version 1")
    cek = _unwrapped(head[4 : 4 + WRAP_SIZE], boxes)
    state = bindings.crypto_secretstream_xchacha20poly1305_state()
    bindings.crypto_secretstream_xchacha20poly1305_init_pull(state, head[-_HEADER:], cek)
    place: bytes | None = _place(context)
    while piece := _up_to(stream, _PIECE + _OVERHEAD):
        plaintext, tag = _pulled(state, piece, place)
        yield plaintext
        if tag == _FINAL:
            if stream.read(1):
                raise Refused(Code.BLOB_SIZE, "bytes after the end of the artifact")
            return
        place = None
    raise Refused(Code.BLOB_TRUNC, "the artifact has no end")


def _pulled(
    state: bindings.crypto_secretstream_xchacha20poly1305_state, piece: bytes, place: bytes | None
) -> tuple[bytes, int]:
    # The binding fails with different classes, and with assertions of its own.
    try:
        plaintext, tag = bindings.crypto_secretstream_xchacha20poly1305_pull(state, piece, place)
    except Exception as error:
        raise Refused(Code.BLOB_HASH, "the artifact was altered, or is another one") from error
    if tag not in {_MESSAGE, _FINAL}:
        raise Refused(Code.BLOB_HASH, "the artifact has a piece of an unknown kind")
    return bytes(plaintext), int(tag)


def _unwrapped(wrapped: bytes, boxes: Sequence[BoxKey]) -> bytes:
    for box in boxes:
        try:
            return box.unwrap(wrapped)
        except Refused:
            continue
    raise Refused(Code.ENV_SEAL, "the artifact is sealed to another key")


def _place(context: str) -> bytes:
    return b"manyarm/v1/artifact\0" + context.encode()


def _up_to(stream: Source, size: int) -> bytes:
    """As much, unless the stream ends: sockets give less than was asked for."""
    parts: list[bytes] = []
    left = size
    while left and (part := stream.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)

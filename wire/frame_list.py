"""PURE. Several frames as one body, as the gateway gives out trust documents: each behind its length."""

import struct
from collections.abc import Iterable, Iterator

from wire.errors import Code, Refused

_LENGTH = struct.Struct(">I")


def join_frames(frames: Iterable[bytes]) -> bytes:
    """Repeated: u32 big-endian length, then the frame."""
    return b"".join(_LENGTH.pack(len(frame)) + frame for frame in frames)


def split_frames(body: bytes) -> Iterator[bytes]:
    """The frames, in order.

    Raises:
        Refused: ENV_SHORT, the body is cut off.
    """
    at = 0
    while at < len(body):
        size = _LENGTH.unpack_from(body, at)[0] if len(body) - at >= _LENGTH.size else -1
        at += _LENGTH.size
        if not 0 <= size <= len(body) - at:
            raise Refused(Code.ENV_SHORT, "the list of documents is cut off")
        yield body[at : at + size]
        at += size

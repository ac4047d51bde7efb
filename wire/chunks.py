r"""Cuts a stream into chunks by its content, so that an insert moves the cuts near it and no others. PURE.

The rule, which anyone may implement and whose vectors stand in tests/wire/test_chunks.py:

    t[i]  = SPREAD[byte i],  SPREAD[v] = first byte of SHA-256("manyarm/v1/cut\0" and v)
    n     = the number whose little-endian bytes are t
    h     = XOR of n << 11k for k = 0..15, again as bytes: h[i] depends on the bytes i-21 .. i
    cut after byte i, where h[i-1] = 0xA5 and h[i] < CUTS, the chunk being at least average/2 long;
    where there is none, at average*4.

It is a rolling hash in whole-block arithmetic: about 350 MB/s in plain Python, where a loop over bytes reaches 6, and
a pattern over byte classes, as fast, finds nothing to cut at in JSON or CSV (docs/adr).
"""

import hashlib
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Protocol

AVERAGE = 16 * 1024
SMALLEST_AVERAGE = 4 * 1024
LARGEST_AVERAGE = 64 * 1024
# No honest chunk of any average is longer.
MAX_CHUNK_BYTES = 4 * LARGEST_AVERAGE

_SPREAD = bytes(hashlib.sha256(b"manyarm/v1/cut\0" + bytes([value])).digest()[0] for value in range(256))
_MARK = 0xA5
_REACH = 22
_BLOCK = 1024 * 1024


class Source(Protocol):
    def read(self, size: int, /) -> bytes: ...


def split(stream: Source, average: int = AVERAGE) -> Iterator[bytes]:
    """Cut a stream into content-defined chunks.

    Args:
        stream: Read from where it stands to its end; not closed.
        average: Bytes, a power of two from 4 KiB to 64 KiB.

    Yields:
        Chunks in order of the stream, each average/2 to average*4 bytes long (the last may be shorter).

    Raises:
        ValueError: average is no such power of two.
    """
    cut = _rule(average)
    shortest, longest = average // 2, average * 4
    context = held = marks = b""
    while block := stream.read(_BLOCK):
        marks += _marks(context, block)
        held += block
        context = (context + block)[-_REACH:]
        start = 0
        while len(held) - start >= longest:
            found = cut.search(marks, start + shortest - 2, start + longest)
            end = found.end() if found else start + longest
            yield held[start:end]
            start = end
        held, marks = held[start:], marks[start:]
    yield from _rest(held, marks, cut, shortest)


def _rest(held: bytes, marks: bytes, cut: re.Pattern[bytes], shortest: int) -> Iterator[bytes]:
    """The same, where less than the longest chunk is left."""
    start = 0
    while start < len(held):
        found = cut.search(marks, start + shortest - 2)
        end = found.end() if found else len(held)
        yield held[start:end]
        start = end


def _marks(context: bytes, block: bytes) -> bytes:
    """The h of each byte of the block."""
    h = int.from_bytes((context + block).translate(_SPREAD), "little")
    # Four doublings make sixteen shifted copies.
    for shift in (11, 22, 44, 88):
        h ^= h << shift
    whole = h.to_bytes(len(context) + len(block) + _REACH, "little")
    return whole[len(context) : len(context) + len(block)]


@lru_cache(maxsize=8)
def _rule(average: int) -> re.Pattern[bytes]:
    if average & (average - 1) or not SMALLEST_AVERAGE <= average <= LARGEST_AVERAGE:
        raise ValueError(f"an average is a power of two from {SMALLEST_AVERAGE} to {LARGEST_AVERAGE}, not {average}")
    # Of 65,536 pairs of bytes, as many as make the mean distance from the shortest length on average/2.
    cuts = 65_536 // (average // 2)
    return re.compile(b"%b[\\x00-%b]" % (re.escape(bytes([_MARK])), re.escape(bytes([cuts - 1]))), re.DOTALL)

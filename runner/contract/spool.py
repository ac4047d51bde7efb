"""The spool's record format: numbered without holes and hash-chained, so that a cut or a change shows.

u32be n | u32be number | payload (n bytes) | 32-byte chain
payload = u8 kind | u64be UTC ms | u8 stream | content
chain   = SHA-256(previous chain || n || number || payload), the first previous = 32 zero bytes
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import List, Tuple

from runner.contract.errors import SpoolDamaged

PAYLOAD_MAX_BYTES = 64 * 1024
CHAIN_START = bytes(32)
_HEAD = struct.Struct(">II")
_PAYLOAD_HEAD = struct.Struct(">BQB")
CONTENT_MAX_BYTES = PAYLOAD_MAX_BYTES - _PAYLOAD_HEAD.size
OVERHEAD_BYTES = _HEAD.size + 32


class Kind(IntEnum):
    TEXT = 0
    EVENT = 1


class Stream(IntEnum):
    """Whose words a text record holds; events carry NONE."""

    NONE = 0
    STDOUT = 1
    STDERR = 2
    INFO = 3
    WARNING = 4
    ERROR = 5
    VERBOSE = 6


@dataclass(frozen=True)
class Record:
    """One record as read. `at` is UTC milliseconds; `size` the bytes that it takes in the spool."""

    number: int
    kind: Kind
    at: int
    stream: Stream
    content: bytes
    chain: bytes
    size: int


def encode_record(
    number: int, kind: Kind, at: int, stream: Stream, content: bytes, *, chain: bytes
) -> Tuple[bytes, bytes]:
    """The bytes of one record, and the chain value after it."""
    payload = _PAYLOAD_HEAD.pack(kind, at, stream) + content
    if len(payload) > PAYLOAD_MAX_BYTES:
        raise ValueError(f"a record holds at most {CONTENT_MAX_BYTES} bytes, not {len(content)}")
    head = _HEAD.pack(len(payload), number)
    after = chain_after(chain, number, payload)
    return b"".join((head, payload, after)), after


def chain_after(chain: bytes, number: int, payload: bytes) -> bytes:
    from hashlib import sha256  # late: beside the worker, whose script has begun

    digest = sha256(chain)
    digest.update(_HEAD.pack(len(payload), number))
    digest.update(payload)
    return digest.digest()


def read_records(data: bytes, number: int = 0, chain: bytes = CHAIN_START) -> List[Record]:
    """Every whole record in `data`; an unfinished one at its end is left alone.

    Args:
        data: Bytes of the spool from a record's start.
        number: The number that the first record must have.
        chain: The chain value before it.

    Raises:
        SpoolDamaged: a number, size, kind or chain value is wrong.
    """
    records: List[Record] = []
    at, end = 0, len(data)
    while end - at >= _HEAD.size:
        length, found = _HEAD.unpack_from(data, at)
        if not _PAYLOAD_HEAD.size <= length <= PAYLOAD_MAX_BYTES:
            raise SpoolDamaged(f"record {number}: a length of {length} bytes")
        if found != number:
            raise SpoolDamaged(f"expected record {number}, found number {found}")
        size = OVERHEAD_BYTES + length
        if end - at < size:
            break
        payload = data[at + _HEAD.size : at + _HEAD.size + length]
        chain = chain_after(chain, number, payload)
        if chain != data[at + size - 32 : at + size]:
            raise SpoolDamaged(f"record {number}: its chain value does not fit its bytes")
        records.append(_record(number, payload, chain, size))
        number += 1
        at += size
    return records


def _record(number: int, payload: bytes, chain: bytes, size: int) -> Record:
    kind, at, stream = _PAYLOAD_HEAD.unpack_from(payload)
    try:
        return Record(number, Kind(kind), at, Stream(stream), payload[_PAYLOAD_HEAD.size :], chain, size)
    except ValueError as error:
        raise SpoolDamaged(f"record {number}: kind {kind}, stream {stream}") from error

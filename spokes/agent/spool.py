"""Where whole records end in a job's spool, and that they are the ones that the supervisor wrote.

    u32be n | u32be number | payload (n bytes) | 32-byte chain
    chain = SHA-256(previous chain || n || number || payload), the first previous = 32 zero bytes

A spoke never looks into a payload: it ships whole records, numbered and chained as they stand.
"""

import hashlib
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Self

from spokes.agent.errors import SpoolDamaged

_HEAD = struct.Struct(">II")
_CHAIN_SIZE = 32
RECORD_MAX = 64 * 1024
OVERHEAD = _HEAD.size + _CHAIN_SIZE


@dataclass(frozen=True, slots=True)
class Position:
    """A place between two records: how many lie before it, in how many bytes, and the chain value there."""

    records: int = 0
    offset: int = 0
    chain: bytes = bytes(_CHAIN_SIZE)

    def to_json(self) -> bytes:
        return json.dumps({"records": self.records, "offset": self.offset, "chain": self.chain.hex()}).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """What was stored; the start for anything unreadable (sending twice is harmless, the range is the same)."""
        try:
            found = json.loads(text)
            chain = bytes.fromhex(found["chain"])
            position = cls(int(found["records"]), int(found["offset"]), chain)
        except (ValueError, KeyError, TypeError):
            return cls()
        return position if len(chain) == _CHAIN_SIZE and position.offset >= 0 and position.records >= 0 else cls()


def each_record(spool: BinaryIO) -> Iterator[tuple[Position, Position, bytes]]:
    """Every whole record from the spool's start, in order: the place before it, the place behind it, its bytes.

    Raises:
        SpoolDamaged: A length, number or chain value is not what the supervisor writes.
    """
    place = Position()
    while len(head := spool.read(_HEAD.size)) == _HEAD.size:
        length, _ = _HEAD.unpack(head)
        data = head + spool.read(min(length, RECORD_MAX) + _CHAIN_SIZE)
        after = after_whole_records(data, place, len(data))
        if after == place:
            return
        yield place, after, data
        place = after


def after_whole_records(data: bytes, start: Position, limit: int) -> Position:
    """The place after the last whole record of `data` that lies within the first `limit` bytes.

    At least one whole record is taken if there is one, however long.

    Args:
        data: Spool bytes from `start` on; an unfinished record at the end is left alone.
        start: Where they begin.
        limit: Bytes.

    Raises:
        SpoolDamaged: A length, number or chain value is not what the supervisor writes.
    """
    number, chain, at = start.records, start.chain, 0
    while len(data) - at >= _HEAD.size:
        length, found = _HEAD.unpack_from(data, at)
        if length > RECORD_MAX or found != number:
            raise SpoolDamaged(f"the spool has number {found}, length {length} where record {number} should begin")
        end = at + OVERHEAD + length
        if end > len(data) or (end > limit and at):
            break
        value = hashlib.sha256(chain + data[at : end - _CHAIN_SIZE]).digest()
        if value != data[end - _CHAIN_SIZE : end]:
            raise SpoolDamaged(f"record {number} of the spool does not fit its chain value")
        number, chain, at = number + 1, value, end
    return Position(number, start.offset + at, chain)

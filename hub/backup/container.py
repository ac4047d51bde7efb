"""The file of a backup: a head that anybody may read, and behind it one sealed stream of named entries.

    magic "MAB1" | u32 length | head (canonical JSON) | secretstream header | sealed pieces

    an entry:  u32 length | JSON {"name"} | (u32 length | bytes)… | u32 0 | SHA-256 of its bytes
    the last:  name "end", whose bytes list every entry with its size and digest

The stream's key comes from the master key, and its first piece is bound to the head: no byte can be changed, cut off
or exchanged without the master key. Written and read piece by piece, so that size does not matter.
"""

import hashlib
import json
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO, Self

from hub.backup.errors import BackupDamaged
from hub.errors import FileDamaged
from hub.storage.models.table import canonical_json
from hub.storage.vault import derive_key
from hub.storage.vault_stream import open_stream, pieces_of, seal_stream

MAGIC = b"MAB1"
END = "end"

_LENGTH = struct.Struct(">I")
_HEAD_MAX = 1024 * 1024
_NAME_MAX = 4096
_BLOCK = 64 * 1024
_END_MAX = 1024 * 1024 * 1024
_HEX = re.compile(r"([0-9a-f]{2})+")


@dataclass(frozen=True, slots=True)
class SealedKey:
    """The master key under a passphrase, and what a guess at it costs."""

    salt: str
    ops: int
    memory_bytes: int
    sealed: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Head:
    """What a backup says of itself without any key; times in UTC milliseconds.

    Attributes:
        id: Of this backup.
        hub: Whose it is.
        at: When its database was taken.
        mk_check: Which master key opens it; `mk_created` is when the hub was installed.
        salt: Of the stream's key.
        database: sqlite or postgresql: it can be restored into either.
        migrations: The shape of its tables.
        epoch: In which the hub lived.
        trust_version: Of its newest trust document.
        events: How long its audit log was.
        key: The master key itself, where somebody asked for that.
    """

    id: str
    hub: str
    at: int
    mk_check: str
    mk_created: int
    salt: str
    database: str
    software: str
    migrations: tuple[str, ...]
    epoch: int
    trust_version: int
    events: int
    key: SealedKey | None = None

    def encoded(self) -> bytes:
        text = canonical_json({**asdict(self), "migrations": list(self.migrations)}).encode("ascii")
        return MAGIC + _LENGTH.pack(len(text)) + text

    @classmethod
    def read(cls, file: BinaryIO) -> tuple[Self, bytes]:
        """The head, and its bytes as they stand in the file.

        Raises:
            BackupDamaged: the file does not begin as backups do.
        """
        start = file.read(len(MAGIC) + _LENGTH.size)
        length = _LENGTH.unpack(start[len(MAGIC) :])[0] if len(start) == len(MAGIC) + _LENGTH.size else 0
        if not start.startswith(MAGIC) or not 0 < length <= _HEAD_MAX:
            raise BackupDamaged("it does not begin as a backup does")
        text = file.read(length)
        try:
            found = json.loads(text)
            key = found.pop("key")
            found["migrations"] = tuple(found["migrations"])
            head = cls(**found, key=SealedKey(**key) if key is not None else None)
            _check(head)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise BackupDamaged("its head is damaged") from error
        return head, start + text


def stream_key(master_key: bytes, head: Head) -> bytes:
    """Used for this one file alone."""
    return derive_key(master_key, "manyarm/v1/backup", head.id, salt=bytes.fromhex(head.salt))


@dataclass(frozen=True, slots=True)
class Entry:
    """One named part; `blocks` come once, in order, and are not to be believed before the last one has come."""

    name: str
    blocks: Iterator[bytes]


@dataclass(slots=True)
class Written:
    """What went into a file, counted while it is written."""

    entries: dict[str, tuple[int, str]] = field(default_factory=dict)


def write(out: BinaryIO, head: Head, master_key: bytes, entries: Iterable[Entry]) -> Written:
    """The whole file; `out` is not closed."""
    written = Written()
    start = head.encoded()
    out.write(start)
    pieces = pieces_of(_encoded(entries, written))
    out.writelines(seal_stream(stream_key(master_key, head), start, pieces))
    return written


def read(file: BinaryIO, master_key: bytes) -> Iterator[Entry]:
    """The entries in order, each to be read to its end before the next; the last one is checked, not given.

    Raises:
        BackupDamaged: names the entry that is cut or altered; raised at the latest after the last entry.
    """
    head, start = Head.read(file)
    source = _Plaintext(open_stream(stream_key(master_key, head), start, file, "the backup"))
    seen: dict[str, tuple[int, str]] = {}
    source.name = "its first entry"
    while (name := _name_of(source)) != END:
        source.name = name
        entry = _Reading(source)
        yield Entry(name, entry.blocks())
        entry.drain()
        seen[name] = (entry.size, entry.sha256)
        source.name = f"what follows {name}"
    source.name = "its list of entries"
    _check_end(source, seen)


class _Plaintext:
    """The stream as bytes to be taken, and what is being read just now."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._waiting = b""
        self.name = ""

    def take(self, count: int) -> bytes:
        parts: list[bytes] = []
        while count:
            if not self._waiting and not self._more():
                raise BackupDamaged(f"{self.name} is cut short")
            part, self._waiting = self._waiting[:count], self._waiting[count:]
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def is_at_end(self) -> bool:
        return not self._waiting and not self._more()

    def _more(self) -> bool:
        try:
            for piece in self._pieces:
                if piece:
                    self._waiting = piece
                    return True
        except FileDamaged as error:
            raise BackupDamaged(f"{self.name} cannot be read: {error.detail}") from error
        return False


class _Reading:
    """One entry while it is read."""

    def __init__(self, source: _Plaintext) -> None:
        self._source = source
        self._digest = hashlib.sha256()
        self._ended = False
        self.size = 0

    def blocks(self) -> Iterator[bytes]:
        while not self._ended:
            length = _LENGTH.unpack(self._source.take(_LENGTH.size))[0]
            if length > _BLOCK:
                raise BackupDamaged(f"{self._source.name} has a block of {length} bytes")
            if length == 0:
                self._ended = True
                if self._source.take(32) != self._digest.digest():
                    raise BackupDamaged(f"{self._source.name} does not have the digest that stands behind it")
                return
            block = self._source.take(length)
            self._digest.update(block)
            self.size += length
            yield block

    def drain(self) -> None:
        for _ in self.blocks():
            continue

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def _encoded(entries: Iterable[Entry], written: Written) -> Iterator[bytes]:
    for entry in entries:
        yield from _entry(entry, written)
    listing = canonical_json({name: list(found) for name, found in written.entries.items()}).encode("ascii")
    yield from _entry(Entry(END, iter(_cut(listing))), Written())


def _entry(entry: Entry, written: Written) -> Iterator[bytes]:
    name = json.dumps({"name": entry.name}).encode("ascii")
    yield _LENGTH.pack(len(name)) + name
    digest, size = hashlib.sha256(), 0
    for given in entry.blocks:
        for block in _cut(given):
            digest.update(block)
            size += len(block)
            yield _LENGTH.pack(len(block))
            yield block
    written.entries[entry.name] = (size, digest.hexdigest())
    yield _LENGTH.pack(0) + digest.digest()


def _cut(given: bytes) -> Iterator[bytes]:
    return (given[start : start + _BLOCK] for start in range(0, len(given), _BLOCK))


def _name_of(source: _Plaintext) -> str:
    length = _LENGTH.unpack(source.take(_LENGTH.size))[0]
    if not 0 < length <= _NAME_MAX:
        raise BackupDamaged(f"{source.name} has no name")
    try:
        return str(json.loads(source.take(length))["name"])
    except (ValueError, KeyError, TypeError) as error:
        raise BackupDamaged(f"{source.name} has no name") from error


def _check_end(source: _Plaintext, seen: dict[str, tuple[int, str]]) -> None:
    entry = _Reading(source)
    listing = bytearray()
    for block in entry.blocks():
        listing += block
        if len(listing) > _END_MAX:
            raise BackupDamaged("its list of entries is too long")
    found: Any = json.loads(bytes(listing))
    if {name: (size, digest) for name, (size, digest) in found.items()} != seen or not source.is_at_end():
        raise BackupDamaged("its list of entries is not what it holds")


def _check(head: Head) -> None:
    """Refuses what would be taken for something else further on."""
    for text in (head.id, head.hub, head.mk_check, head.salt):
        if not _HEX.fullmatch(text):
            raise ValueError("no hex")
    for number in (head.at, head.mk_created, head.epoch, head.trust_version, head.events):
        if type(number) is not int:
            raise TypeError("no number")
    if not all(type(name) is str for name in (head.database, head.software, *head.migrations)):
        raise TypeError("no text")

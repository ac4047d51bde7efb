"""Reading zip archives strictly: central directory and local headers must tell one story about contiguous bytes."""

from __future__ import annotations

import stat
import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO, Iterator, List, Tuple

from runner.contract.archive_limits import Budget, Entry, Limits
from runner.contract.archive_names import checked_parts, decode_name
from runner.contract.errors import ArchiveRefused, shown

_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_SIGNATURES = (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x07\x08")
_DIRECTORY_MAX_BYTES = 16 * 1024**2
_READ_BYTES = 256 * 1024
_STORED, _DEFLATED = 0, 8
_FLAG_ENCRYPTED, _FLAG_DESCRIPTOR, _FLAG_REFUSED = 0x0001, 0x0008, 0x0001 | 0x0020 | 0x0040 | 0x2000
_NOTE32, _NOTE16 = 0xFFFFFFFF, 0xFFFF


@dataclass(frozen=True)
class _Member:
    """One entry of the central directory, with everything that its local header must repeat."""

    __slots__ = ("crc", "entry", "flags", "method", "offset", "packed", "raw_name", "size")

    entry: Entry
    raw_name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int


@dataclass(frozen=True)
class _Directory:
    count: int
    size: int
    offset: int
    end: int


class ZipReader:
    """One pass over a zip archive; the stream must seek."""

    def __init__(self, stream: BinaryIO, limits: Limits) -> None:
        self._stream = stream
        self._size = stream.seek(0, 2)
        self._limits = limits

    def walk(self, *, with_content: bool) -> Iterator[Tuple[Entry, Iterator[bytes]]]:
        """Entry by entry, each with its headers compared; the whole is only known to be right at the end."""
        directory = self._directory()
        budget = Budget(self._limits, self._size)
        expected = 0
        for member in self._members(directory):
            start = self._data_start(member, expected)
            expected = start + member.packed + self._descriptor_size(member, start + member.packed)
            yield member.entry, self._content(member, start, budget) if with_content else iter(())
        if expected != directory.offset:
            code = "ARC_OVERLAP" if expected > directory.offset else "ARC_FORMAT"
            raise ArchiveRefused(code, "the entries' bytes do not end where the list of entries begins")

    def _members(self, directory: _Directory) -> Iterator[_Member]:
        budget = Budget(self._limits, self._size)
        budget.entry(directory.count)
        if directory.size > _DIRECTORY_MAX_BYTES:
            raise ArchiveRefused("ARC_BOMB", f"a list of entries of {directory.size} bytes")
        data = self._at(directory.offset, directory.size)
        at = 0
        for _ in range(directory.count):
            member, at = _central(data, at)
            budget.unpacked(member.size)
            yield member
        if at != len(data):
            raise ArchiveRefused("ARC_FORMAT", "bytes after the last entry of the list of entries")

    def _directory(self) -> _Directory:
        end, fields = self._end()
        _, disk, first_disk, count_here, count, size, offset, _ = fields
        if _NOTE16 in (count, count_here) or _NOTE32 in (size, offset):
            return self._directory64(end)
        if disk or first_disk or count_here != count:
            raise ArchiveRefused("ARC_FORMAT", "an archive in several volumes")
        return self._placed(_Directory(count, size, offset, end))

    def _directory64(self, end: int) -> _Directory:
        locator_at = end - _END64_LOCATOR.size
        signature, disk, record_at, disks = _END64_LOCATOR.unpack(self._at(locator_at, _END64_LOCATOR.size))
        if signature != b"PK\x06\x07" or disk or disks != 1 or record_at + _END64.size != locator_at:
            raise ArchiveRefused("ARC_FORMAT", "the zip64 end record is not where it must be")
        fields = _END64.unpack(self._at(record_at, _END64.size))
        signature, length, _, _, disk, first_disk, count_here, count, size, offset = fields
        if signature != b"PK\x06\x06" or length != _END64.size - 12 or disk or first_disk or count_here != count:
            raise ArchiveRefused("ARC_FORMAT", "the zip64 end record is malformed")
        return self._placed(_Directory(count, size, offset, record_at))

    def _placed(self, directory: _Directory) -> _Directory:
        """Nothing may lie between the list of entries and the end record, nor before the first entry."""
        if directory.offset + directory.size != directory.end:
            raise ArchiveRefused("ARC_FORMAT", "bytes that belong to no entry, before the archive or inside of it")
        return directory

    def _end(self) -> Tuple[int, Tuple[bytes, int, int, int, int, int, int, int]]:
        tail_size = min(self._size, _END.size + _NOTE16)
        tail = self._at(self._size - tail_size, tail_size)
        at = tail.rfind(b"PK\x05\x06")
        if at < 0 or tail_size - at < _END.size:
            raise ArchiveRefused("ARC_FORMAT", "no zip archive, or a truncated one: its end record is missing")
        fields = _END.unpack_from(tail, at)
        comment = tail[at + _END.size :]
        if len(comment) != fields[7]:
            raise ArchiveRefused("ARC_FORMAT", "bytes after the archive's end")
        # An end record inside the comment would be found by some readers and not by others.
        if any(signature in comment for signature in _SIGNATURES) or self._earlier_end(tail[:at], fields[7]):
            raise ArchiveRefused("ARC_FORMAT", "a second end record: two archives in one file")
        return self._size - tail_size + at, fields

    def _earlier_end(self, before: bytes, comment_size: int) -> bool:
        """Whether an earlier end record claims all bytes to the file's end as its comment."""
        at = before.find(b"PK\x05\x06")
        total = len(before) + _END.size + comment_size
        while at >= 0:
            claimed = before[at + 20 : at + 22]
            if len(claimed) == 2 and at + _END.size + int.from_bytes(claimed, "little") == total:
                return True
            at = before.find(b"PK\x05\x06", at + 1)
        return False

    def _data_start(self, member: _Member, expected: int) -> int:
        """Where an entry's bytes begin; entries must follow one another without gap or overlap."""
        if member.offset != expected:
            code = "ARC_OVERLAP" if member.offset < expected or expected else "ARC_FORMAT"
            raise ArchiveRefused(code, f"the bytes of {shown(member.entry.name)} do not follow the entry before it")
        return self._check_local(member)

    def _check_local(self, member: _Member) -> int:
        name = shown(member.entry.name)
        header = self._at(member.offset, _LOCAL.size, "ARC_OVERLAP")
        signature, _, flags, method, _, _, crc, packed, size, name_size, extra_size = _LOCAL.unpack(header)
        if signature != b"PK\x03\x04":
            raise ArchiveRefused("ARC_FORMAT", f"no header where {name} must begin")
        rest = self._at(member.offset + _LOCAL.size, name_size + extra_size, "ARC_OVERLAP")
        if _NOTE32 in (packed, size):
            wanted = [v for v in (size, packed) if v == _NOTE32]
            found = _zip64_values(rest[name_size:], len(wanted))
            size = found.pop(0) if size == _NOTE32 else size
            packed = found.pop(0) if packed == _NOTE32 else packed
        local = (rest[:name_size], flags, method)
        if local != (member.raw_name, member.flags, member.method):
            raise ArchiveRefused("ARC_FORMAT", f"two headers of {name} disagree")
        late = bool(flags & _FLAG_DESCRIPTOR) and (crc, packed, size) in ((0, 0, 0), (0, member.packed, member.size))
        if not late and (crc, packed, size) != (member.crc, member.packed, member.size):
            raise ArchiveRefused("ARC_FORMAT", f"two headers of {name} disagree about its size")
        return member.offset + _LOCAL.size + len(rest)

    def _descriptor_size(self, member: _Member, at: int) -> int:
        """Bytes of the data descriptor that follows an entry written as a stream."""
        if not member.flags & _FLAG_DESCRIPTOR:
            return 0
        data = self._at(at, min(24, max(0, self._size - at)))
        for form in ("<4sLLL", "<4sLQQ", "<LLL", "<LQQ"):
            size = struct.calcsize(form)
            if len(data) < size:
                continue
            values = struct.unpack_from(form, data)
            if values[-3:] == (member.crc, member.packed, member.size) and values[0] in (b"PK\x07\x08", member.crc):
                return size
        raise ArchiveRefused("ARC_FORMAT", f"the descriptor of {shown(member.entry.name)} disagrees with its header")

    def _content(self, member: _Member, start: int, budget: Budget) -> Iterator[bytes]:
        crc = 0
        total = 0
        pieces = self._inflated(member, start) if member.method == _DEFLATED else self._stored(member, start)
        for piece in pieces:
            total += len(piece)
            budget.unpacked(len(piece))
            if total > member.size:
                raise ArchiveRefused("ARC_BOMB", f"{shown(member.entry.name)} is larger than it says")
            crc = zlib.crc32(piece, crc)
            yield piece
        if total != member.size or crc != member.crc:
            raise ArchiveRefused("ARC_FORMAT", f"{shown(member.entry.name)} is damaged: size or checksum is wrong")

    def _stored(self, member: _Member, start: int) -> Iterator[bytes]:
        for at in range(start, start + member.packed, _READ_BYTES):
            yield self._at(at, min(_READ_BYTES, start + member.packed - at))

    def _inflated(self, member: _Member, start: int) -> Iterator[bytes]:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            for packed in self._stored(member, start):
                piece = inflater.decompress(packed, _READ_BYTES)
                while piece:
                    yield piece
                    piece = inflater.decompress(inflater.unconsumed_tail, _READ_BYTES)
        except zlib.error as error:
            raise ArchiveRefused("ARC_FORMAT", f"{shown(member.entry.name)} is damaged") from error
        if not inflater.eof or inflater.unused_data:
            raise ArchiveRefused("ARC_FORMAT", f"{shown(member.entry.name)} is damaged: its stream has no proper end")

    def _at(self, offset: int, size: int, code: str = "ARC_FORMAT") -> bytes:
        if offset < 0 or offset + size > self._size:
            raise ArchiveRefused(code, "a truncated archive, or one that points outside of itself")
        self._stream.seek(offset)
        data = self._stream.read(size)
        if len(data) != size:
            raise ArchiveRefused(code, "a truncated archive")
        return data


def _central(data: bytes, at: int) -> Tuple[_Member, int]:
    if len(data) - at < _CENTRAL.size:
        raise ArchiveRefused("ARC_FORMAT", "the list of entries is truncated")
    fields = _CENTRAL.unpack_from(data, at)
    signature, made_by, _, flags, method, _, _, crc, packed, size = fields[:10]
    name_size, extra_size, comment_size, disk, _, attributes, offset = fields[10:]
    stop = at + _CENTRAL.size + name_size + extra_size + comment_size
    if signature != b"PK\x01\x02" or stop > len(data) or disk:
        raise ArchiveRefused("ARC_FORMAT", "the list of entries is malformed")
    name_at = at + _CENTRAL.size
    raw_name = data[name_at : name_at + name_size]
    extra = data[name_at + name_size : name_at + name_size + extra_size]
    if _NOTE32 in (size, packed, offset):
        values = _zip64_values(extra, [size, packed, offset].count(_NOTE32))
        size = values.pop(0) if size == _NOTE32 else size
        packed = values.pop(0) if packed == _NOTE32 else packed
        offset = values.pop(0) if offset == _NOTE32 else offset
    entry = _entry(raw_name, size, attributes, made_by >> 8)
    _check_method(entry, flags, method)
    return _Member(entry, raw_name, flags, method, crc, packed, size, offset), stop


def _entry(raw_name: bytes, size: int, attributes: int, system: int) -> Entry:
    name = decode_name(raw_name)
    parts = checked_parts(name)
    mode = attributes >> 16
    kind = stat.S_IFMT(mode)
    is_directory = name.endswith("/")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or mode & 0o7000 or (system == 0 and attributes & 0x08):
        raise ArchiveRefused("ARC_TYPE", f"{shown(name)} is neither a plain file nor a folder")
    if kind and is_directory != (kind == stat.S_IFDIR):
        raise ArchiveRefused("ARC_TYPE", f"{shown(name)} says that it is a file and a folder")
    if is_directory and size:
        raise ArchiveRefused("ARC_FORMAT", f"the folder {shown(name)} has content")
    return Entry("/".join(parts), size, is_directory, bool(mode & 0o111) and not is_directory)


def _check_method(entry: Entry, flags: int, method: int) -> None:
    if flags & _FLAG_REFUSED:
        how = "encrypted" if flags & _FLAG_ENCRYPTED else "packed in a way that we do not read"
        raise ArchiveRefused("ARC_FORMAT", f"{shown(entry.name)} is {how}")
    if method not in (_STORED, _DEFLATED):
        raise ArchiveRefused("ARC_FORMAT", f"{shown(entry.name)} is packed by method {method}; known are 0 and 8")


def _zip64_values(extra: bytes, count: int) -> List[int]:
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<2H", extra, at)
        if kind == 1 and size >= 8 * count and at + 4 + size <= len(extra):
            return list(struct.unpack_from(f"<{count}Q", extra, at + 4))
        at += 4 + size
    raise ArchiveRefused("ARC_FORMAT", "a zip64 entry without its sizes")

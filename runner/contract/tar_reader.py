"""Reading tar archives strictly, plain or compressed: plain files and folders, nothing that points elsewhere."""

from __future__ import annotations

import re
from typing import BinaryIO, Callable, Dict, Iterator, Tuple, Type

from runner.contract.archive_limits import Budget, Entry, Limits
from runner.contract.archive_names import checked_parts, decode_name
from runner.contract.errors import ArchiveRefused, shown

_BLOCK = 512
_READ_BYTES = 256 * 1024
_EXTENSION_MAX_BYTES = 64 * 1024
_REGULAR, _DIRECTORY = (b"0", b"\0"), b"5"
# What a pax header may say about the next entry; `path` and `size` matter to us, the rest is not used.
_PAX_KEYS = frozenset({"path", "size", "mtime", "atime", "ctime", "uid", "gid", "uname", "gname", "comment"})
_PAX_RECORD = re.compile(rb"([1-9][0-9]{0,6}) ([^=]+)=")


def open_tar(stream: BinaryIO, extension: str, limits: Limits) -> TarReader:
    """The reader of a tar file, plain or compressed as its extension says; the stream must seek."""
    packed_bytes = stream.seek(0, 2)
    stream.seek(0)
    return TarReader(_pieces(stream, extension), packed_bytes, limits, stream.tell)


class TarReader:
    """One pass over a tar archive, whose own bytes come in pieces of any size."""

    def __init__(
        self, pieces: Iterator[bytes], packed_bytes: int, limits: Limits, read_bytes: Callable[[], int] | None = None
    ) -> None:
        self._budget = Budget(limits, packed_bytes, read_bytes)
        self._source = _Source(pieces, self._budget)

    def walk(self, *, with_content: bool) -> Iterator[Tuple[Entry, Iterator[bytes]]]:
        pax: Dict[str, str] = {}
        long_name: bytes | None = None
        while True:
            block = self._source.exactly(_BLOCK)
            if not block.strip(b"\0"):
                self._check_end()
                return
            kind, size = _checked_header(block)
            if kind in (b"x", b"g", b"L"):
                self._budget.entry()
                data = self._extension(size)
                if kind == b"x":
                    pax = _pax_records(data)
                elif kind == b"g":
                    _check_global(data)
                else:
                    long_name = data.rstrip(b"\0")
                continue
            entry = _entry(block, kind, size, pax, long_name)
            pax, long_name = {}, None
            self._budget.entry()
            content = self._source.content(entry.size)
            yield entry, content if with_content else iter(())
            # What the caller did not read is read here: a pass without content still counts every byte.
            for _ in content:
                continue

    def _extension(self, size: int) -> bytes:
        if size > _EXTENSION_MAX_BYTES:
            raise ArchiveRefused("ARC_NAME", f"an extended header of {size} bytes")
        return b"".join(self._source.content(size))

    def _check_end(self) -> None:
        """The end is two empty blocks, then nothing but zeros up to the end of the last record."""
        if self._source.exactly(_BLOCK).strip(b"\0"):
            raise ArchiveRefused("ARC_FORMAT", "an empty block inside the archive")
        for piece in self._source.rest():
            if piece.strip(b"\0"):
                raise ArchiveRefused("ARC_FORMAT", "bytes after the archive's end")


class _Source:
    """The uncompressed bytes, counted as they come."""

    def __init__(self, pieces: Iterator[bytes], budget: Budget) -> None:
        self._pieces = pieces
        self._budget = budget
        self._buffer = b""
        self._at = 0

    def exactly(self, size: int) -> bytes:
        return b"".join(self._take(size))

    def content(self, size: int) -> Iterator[bytes]:
        """`size` bytes in pieces, then the padding up to the next block."""
        yield from self._take(size)
        if self.exactly(-size % _BLOCK).strip(b"\0"):
            raise ArchiveRefused("ARC_FORMAT", "bytes that belong to no entry, between two of them")

    def rest(self) -> Iterator[bytes]:
        yield self._buffer[self._at :]
        for piece in self._pieces:
            self._budget.unpacked(len(piece))
            yield piece

    def _take(self, size: int) -> Iterator[bytes]:
        while size:
            if self._at == len(self._buffer):
                self._buffer, self._at = next(self._pieces, b""), 0
                self._budget.unpacked(len(self._buffer))
                if not self._buffer:
                    raise ArchiveRefused("ARC_FORMAT", "a truncated archive: its end is missing")
            piece = self._buffer[self._at : self._at + size]
            self._at += len(piece)
            size -= len(piece)
            yield piece


def _checked_header(block: bytes) -> Tuple[bytes, int]:
    """The type flag and size of a header whose checksum is right."""
    wanted = _number(block[148:156], "checksum")
    if wanted != sum(block[:148]) + 8 * 32 + sum(block[156:]):
        raise ArchiveRefused("ARC_FORMAT", "no tar archive, or a damaged one: a header's checksum is wrong")
    return block[156:157], _number(block[124:136], "size")


def _entry(block: bytes, kind: bytes, size: int, pax: Dict[str, str], long_name: bytes | None) -> Entry:
    name = _name(block, pax, long_name)
    mode = _number(block[100:108], "mode")
    if (kind not in _REGULAR and kind != _DIRECTORY) or mode & 0o7000:
        raise ArchiveRefused("ARC_TYPE", f"{shown(name)} is neither a plain file nor a folder")
    # The old format marks a folder by a slash at its name's end alone.
    is_directory = kind == _DIRECTORY or name.endswith("/")
    if "size" in pax:
        size = _decimal(pax["size"])
    if is_directory and size:
        raise ArchiveRefused("ARC_FORMAT", f"the folder {shown(name)} has content")
    return Entry("/".join(checked_parts(name)), size, is_directory, bool(mode & 0o111) and not is_directory)


def _name(block: bytes, pax: Dict[str, str], long_name: bytes | None) -> str:
    if "path" in pax:
        return pax["path"]
    if long_name is not None:
        return decode_name(long_name)
    name = decode_name(_until_nul(block[:100]))
    # Only the POSIX form has a prefix; GNU's keeps times in the same place.
    prefix = decode_name(_until_nul(block[345:500])) if block[257:263] == b"ustar\0" else ""
    return f"{prefix}/{name}" if prefix else name


def _pax_records(data: bytes) -> Dict[str, str]:
    found: Dict[str, str] = {}
    at = 0
    while at < len(data):
        record = _PAX_RECORD.match(data, at)
        if record is None:
            raise ArchiveRefused("ARC_FORMAT", "a malformed extended header")
        stop = at + int(record.group(1))
        key = record.group(2).decode("latin-1")
        if stop > len(data) or stop <= record.end() or data[stop - 1 : stop] != b"\n" or key in found:
            raise ArchiveRefused("ARC_FORMAT", "a malformed extended header")
        if key.startswith(("GNU.sparse", "SCHILY.realsize")) or key == "linkpath":
            raise ArchiveRefused("ARC_TYPE", f"an entry with {shown(key)} is no plain file")
        if key in _PAX_KEYS:
            found[key] = decode_name(data[record.end() : stop - 1])
        at = stop
    return found


def _check_global(data: bytes) -> None:
    """A header for all entries may hold a comment (git writes its commit there), nothing that changes an entry."""
    extra = sorted(set(_pax_records(data)) - {"comment"})
    if extra:
        raise ArchiveRefused("ARC_FORMAT", f"a global header sets {shown(extra[0])} for all entries")


def _until_nul(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]


def _number(field: bytes, what: str) -> int:
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if not re.fullmatch(rb"[0-7]*", digits):
        raise ArchiveRefused("ARC_FORMAT", f"no tar archive, or a damaged one: a header's {what} is no number")
    return int(digits or b"0", 8)


def _decimal(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text, re.ASCII):
        raise ArchiveRefused("ARC_FORMAT", "an extended header's size is no number")
    return int(text)


def _pieces(stream: BinaryIO, extension: str) -> Iterator[bytes]:
    if extension in ("tar.gz", "tgz"):
        return _gunzipped(stream)
    if extension == "tar.bz2":
        import bz2  # late: a job needs one format only

        return _members(stream, b"BZh", bz2.BZ2Decompressor, OSError)
    if extension == "tar.zst":
        return _unzstd(stream)
    return iter(lambda: stream.read(_READ_BYTES), b"")


def _gunzipped(stream: BinaryIO) -> Iterator[bytes]:
    import zlib  # late: a job needs one format only

    packed = stream.read(_READ_BYTES)
    while packed:
        if packed[:2] != b"\x1f\x8b"[: len(packed)]:
            raise ArchiveRefused("ARC_FORMAT", "no gzip file, or bytes after its end")
        inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)
        while not inflater.eof:
            try:
                piece = inflater.decompress(packed, _READ_BYTES)
            except zlib.error as error:
                raise ArchiveRefused("ARC_FORMAT", "a damaged gzip file") from error
            packed = inflater.unconsumed_tail or (b"" if inflater.eof else stream.read(_READ_BYTES))
            if piece:
                yield piece
            elif not packed and not inflater.eof:
                raise ArchiveRefused("ARC_FORMAT", "a truncated gzip file")
        packed = inflater.unused_data or stream.read(_READ_BYTES)


def _members(stream: BinaryIO, magic: bytes, start: Callable[[], object], damaged: Type[Exception]) -> Iterator[bytes]:
    """The members of a bz2 or zstd file, one after the other, through the standard library's decompressors."""
    packed = stream.read(_READ_BYTES)
    while packed:
        if not packed.startswith(magic):
            raise ArchiveRefused("ARC_FORMAT", "not the compression that its name says, or bytes after its end")
        unpacker: object = start()
        while not unpacker.eof:  # type: ignore[attr-defined]  # bz2's and zstd's decompressors share no base class
            if unpacker.needs_input and not packed:  # type: ignore[attr-defined]  # the same
                packed = stream.read(_READ_BYTES)
                if not packed:
                    raise ArchiveRefused("ARC_FORMAT", "a truncated compressed file")
            try:
                piece: bytes = unpacker.decompress(packed, _READ_BYTES)  # type: ignore[attr-defined]  # the same
            except damaged as error:
                raise ArchiveRefused("ARC_FORMAT", "a damaged compressed file") from error
            packed = b""
            if piece:
                yield piece
        packed = unpacker.unused_data or stream.read(_READ_BYTES)  # type: ignore[attr-defined]  # the same


def _unzstd(stream: BinaryIO) -> Iterator[bytes]:
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]  # Python 3.14 on
    except ImportError as error:
        sentence = "this Python reads no .tar.zst (3.14 does); the spoke turns it into a .tar on the way"
        raise ArchiveRefused("ARC_FORMAT", sentence) from error
    return _members(stream, b"\x28\xb5\x2f\xfd", zstd.ZstdDecompressor, zstd.ZstdError)

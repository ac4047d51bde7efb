"""Looks into an uploaded archive before it is accepted, by the runner's own rules (runner/contract/archives.py)."""

import io
from collections.abc import Iterator

import zstandard

from hub.packages.errors import ArchiveUnfit
from hub.packages.reading import ChunkReader
from runner.contract import archives
from runner.contract.errors import ArchiveRefused

_BUFFER = 128 * 1024


def inspect_archive(package: ChunkReader, extension: str) -> None:
    """Refuse what no target could unpack safely.

    Raises:
        ArchiveUnfit: with the ARC_* code of the rule that it breaks.
    """
    package.seek(0)
    try:
        if extension == "tar.zst":
            archives.inspect_tar(_unpacked(package), package.size)
        else:
            archives.inspect(io.BufferedReader(_Kept(package), _BUFFER), extension=extension)
    except ArchiveRefused as error:
        raise ArchiveUnfit(f"the archive is refused: {error}", code=error.code) from error


def _unpacked(package: ChunkReader) -> Iterator[bytes]:
    """A target unpacks `.tar.zst` with its spoke's zstandard; so does the hub."""
    try:
        with zstandard.ZstdDecompressor(max_window_size=128 * 1024 * 1024).stream_reader(
            io.BufferedReader(_Kept(package), _BUFFER), read_across_frames=True
        ) as stream:
            while piece := stream.read(_BUFFER):
                yield piece
    except zstandard.ZstdError as error:
        raise ArchiveRefused("ARC_FORMAT", "the file is no whole zstd stream: it is damaged or cut short") from error


class _Kept(io.RawIOBase):
    """The same file, left open when a buffer around it is closed."""

    def __init__(self, package: ChunkReader) -> None:
        super().__init__()
        self._package = package

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._package.seek(offset, whence)

    def tell(self) -> int:
        return self._package.tell()

    def readinto(self, buffer: object, /) -> int:
        return self._package.readinto(buffer)  # type: ignore[arg-type]  # io's own type for it has no public name

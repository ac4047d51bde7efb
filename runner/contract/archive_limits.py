"""What an archive may cost, what it holds, and the counting that stops it at its limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Tuple

from runner.contract.errors import ArchiveRefused


@dataclass(frozen=True)
class Limits:
    """What an archive may cost.

    Args:
        total_bytes: Bytes of all files together, unpacked.
        entries: Files and folders.
        ratio: Unpacked bytes per packed byte, looked at beyond `ratio_from_bytes`.
        ratio_from_bytes: Small archives may shrink as they like.
        ahead_bytes: Unpacked bytes from which the ratio counts for what was read so far, and not for the whole file:
            else zeros for gigabytes would be unpacked before the ratio of all is reached.
    """

    total_bytes: int = 8 * 1024**3
    entries: int = 50_000
    ratio: int = 200
    ratio_from_bytes: int = 10 * 1024**2
    ahead_bytes: int = 128 * 1024**2


@dataclass(frozen=True)
class Entry:
    """One file or folder that the archive holds; there may be tens of thousands at once. The root has no name."""

    __slots__ = ("is_directory", "is_executable", "name", "size")

    name: str
    size: int
    is_directory: bool
    is_executable: bool

    @property
    def parts(self) -> Tuple[str, ...]:
        return tuple(self.name.split("/")) if self.name else ()


class Budget:
    """Counts what an archive costs while it is read, and stops it at its limits."""

    def __init__(self, limits: Limits, packed_bytes: int, read_bytes: Callable[[], int] | None = None) -> None:
        self._limits = limits
        self._read = read_bytes
        self._packed = max(1, packed_bytes)
        self._bytes = 0
        self._entries = 0

    def entry(self, count: int = 1) -> None:
        self._entries += count
        if self._entries > self._limits.entries:
            raise ArchiveRefused("ARC_BOMB", f"over {self._limits.entries} entries")

    def unpacked(self, count: int) -> None:
        self._bytes += count
        if self._bytes > self._limits.total_bytes:
            raise ArchiveRefused("ARC_BOMB", f"unpacks to over {self._limits.total_bytes} bytes")
        if self._bytes > self._limits.ratio_from_bytes and self._bytes > self._packed * self._limits.ratio:
            raise ArchiveRefused("ARC_BOMB", f"unpacks to over {self._limits.ratio} times its size")
        if self._read is not None and self._bytes > self._limits.ahead_bytes + self._read() * self._limits.ratio:
            raise ArchiveRefused("ARC_BOMB", f"unpacks to over {self._limits.ratio} times what was read of it")

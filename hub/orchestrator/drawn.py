"""Random bytes of the system's, fetched many at once.

Each fetch lets another thread of the process run, and the way back costs more than the bytes: a frame needs three.
"""

import os

_FETCHED_BYTES = 4096


class Drawn:
    """Called for so many bytes; none is given twice. For one thread."""

    def __init__(self) -> None:
        self._bytes = b""
        self._used = 0

    def __call__(self, size: int) -> bytes:
        if size > _FETCHED_BYTES:
            return os.urandom(size)
        if self._used + size > len(self._bytes):
            self._bytes, self._used = os.urandom(_FETCHED_BYTES), 0
        start, self._used = self._used, self._used + size
        return self._bytes[start : self._used]

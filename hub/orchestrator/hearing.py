"""Whether silence means anything: only to somebody who has listened for long enough.

A job that ended while the hub was away, or while the broker was, has its result on the way. So after a start, or after
the broker was gone, no job's deadline fires until spokes have had time to come back and say what they know.
"""

from collections.abc import Callable


class Hearing:
    """For one thread.

    Args:
        hears: Whether what spokes say reaches us now.
        grace_ms: How long they may take to come back.
    """

    def __init__(self, hears: Callable[[], bool], grace_ms: int) -> None:
        self._hears = hears
        self._grace_ms = grace_ms
        self._since_ms: int | None = None

    def trusts_silence(self, now_ms: int) -> bool:
        """To be asked often: it goes by what it saw."""
        if not self._hears():
            self._since_ms = None
            return False
        if self._since_ms is None:
            self._since_ms = now_ms
        return now_ms - self._since_ms >= self._grace_ms

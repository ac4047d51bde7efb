"""Whether to wait a moment for more: while messages stream in, a transaction for each would cost more than they do.

One that comes alone is never held up.
"""

import time
from collections.abc import Callable

_SPAN_S = 0.05
_STREAM = 8
_WAIT_S = 0.01


class Stream:
    """One queue's, as the thread sees it that empties it.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = 0.0
        self._count = 0
        self._before = 0

    def wait_s(self, taken: int) -> float:
        """How long what comes next should be waited for, after so many were taken; 0 where nothing streams."""
        now = self._clock()
        if now - self._since > _SPAN_S:
            # A span that ended long ago says nothing of now.
            self._before = self._count if now - self._since <= 2 * _SPAN_S else 0
            self._count, self._since = 0, now
        self._count += taken
        return _WAIT_S if max(self._before, self._count) >= _STREAM else 0.0

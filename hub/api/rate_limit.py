"""A bucket of tokens a caller, in this process's memory: one key that floods is slowed, nobody else."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from hub.errors import TooMany

_BUCKETS_MAX = 10_000


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class RateLimit:
    """`burst` requests at once, then `per_second`. Thread-safe; the bucket longest unused is forgotten first."""

    def __init__(
        self, per_second: float = 100.0, burst: int = 400, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = per_second
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, who: str) -> None:
        """Spend one token.

        Raises:
            TooMany: there is none; says when there will be.
        """
        now = self._clock()
        with self._lock:
            bucket = self._buckets.pop(who, None) or _Bucket(float(self._burst), now)
            bucket.tokens = min(float(self._burst), bucket.tokens + (now - bucket.at) * self._rate)
            bucket.at = now
            self._buckets[who] = bucket
            if len(self._buckets) > _BUCKETS_MAX:
                self._buckets.popitem(last=False)
            if bucket.tokens < 1:
                raise TooMany("too many requests with this key", retry_after_s=(1 - bucket.tokens) / self._rate)
            bucket.tokens -= 1

"""How often a stranger may knock: one token bucket an address, in memory, of bounded number."""

import ipaddress
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `burst` at once, then `per_minute`."""

    burst: int
    per_minute: int


class Rates:
    """Counts by address: an honest machine elsewhere is never locked out by a flood from here.

    Args:
        rate: What one address may.
        clock: Seconds that only rise.
        addresses: How many are remembered; the one heard of longest ago is forgotten first.
    """

    def __init__(self, rate: Rate, clock: Callable[[], float], addresses: int = 20_000) -> None:
        self._rate = rate
        self._clock = clock
        self._most = addresses
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait_s(self, address: str) -> float:
        """0 when this one may go on (and is counted); else the seconds until it may."""
        key, now = _network(address), self._clock()
        per_second = self._rate.per_minute / 60
        with self._lock:
            tokens, counted_at = self._buckets.pop(key, (float(self._rate.burst), now))
            tokens = min(float(self._rate.burst), tokens + (now - counted_at) * per_second)
            allowed = tokens >= 1
            self._buckets[key] = (tokens - 1 if allowed else tokens, now)
            while len(self._buckets) > self._most:
                self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - tokens) / per_second


def _network(address: str) -> str:
    """An IPv4 address counts alone; of an IPv6 address its /64, which is what one customer gets."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)

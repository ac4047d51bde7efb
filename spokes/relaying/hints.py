"""Tells the hub why a spoke is not reached. A hint explains why a command waits; nobody acts on it."""

import json
import time
from collections.abc import Callable
from concurrent.futures import Future

from wire.connection import Outgoing
from wire.topology import EVENTS, EventKind, relay_key

_AGAIN_S = 60.0
_ALIVE_EVERY_S = 30.0
_DETAIL_MAX = 500


class Hints:
    """Used by one loop.

    Args:
        publish: To the broker; what becomes of a hint is nobody's concern.
    """

    def __init__(
        self,
        relay_id: str,
        publish: "Callable[[Outgoing], Future[None]]",
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._relay_id = relay_id
        self._publish = publish
        self._clock = clock
        self._said: dict[str, tuple[str, float]] = {}
        self._alive_at = -_ALIVE_EVERY_S

    def alive(self) -> None:
        """That the relay itself is there, every half a minute: it has no heartbeat, for it signs nothing."""
        if self._clock() - self._alive_at >= _ALIVE_EVERY_S:
            self._alive_at = self._clock()
            self._publish_hint(self._relay_id, {"state": "up", "reason": "", "detail": ""})

    def up(self, spoke_id: str) -> None:
        """Once for each time that it comes back."""
        if self._said.get(spoke_id, ("", 0.0))[0] != "up":
            self._say(spoke_id, "up", {"state": "up", "reason": "", "detail": ""})

    def down(self, spoke_id: str, reason: str, detail: str) -> None:
        """At once when the reason is new, then every minute."""
        said, at = self._said.get(spoke_id, ("", 0.0))
        if said != reason or self._clock() - at >= _AGAIN_S:
            self._say(spoke_id, reason, {"state": "down", "reason": reason, "detail": detail[:_DETAIL_MAX]})

    def forget(self, spoke_id: str) -> None:
        self._said.pop(spoke_id, None)

    def _say(self, spoke_id: str, word: str, hint: dict[str, str]) -> None:
        self._said[spoke_id] = (word, self._clock())
        self._publish_hint(spoke_id, hint)

    def _publish_hint(self, spoke_id: str, hint: dict[str, str]) -> None:
        key = relay_key(self._relay_id, EventKind.HINT, spoke_id)
        body = json.dumps(hint, sort_keys=True).encode("ascii")
        self._publish(Outgoing(EVENTS, key, body, persistent=False, mandatory=False))

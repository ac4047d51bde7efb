"""Where frames end that nobody honest sent: counted, the head of the last hundred kept, one alarm for many.

What is not authenticated changes no state and gets no answer; that it came is worth an audit row a minute at most.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable
from threading import Lock

from hub.events.record import SYSTEM, record
from hub.storage.database import write_tx
from hub.storage.models import Quarantine
from wire.connection import Delivery

logger = logging.getLogger(__name__)

HEAD_BYTES = 4096
_ALARM_EVERY_MS = 60_000


class QuarantineRing:
    """Takes refused frames from any thread."""

    def __init__(self, clock_ms: Callable[[], int], size: int = 100) -> None:
        self._clock_ms = clock_ms
        self._size = size
        self._pending: deque[dict[str, object]] = deque(maxlen=size)
        self._counts: Counter[str] = Counter()
        self._alarmed_ms = 0
        self._lock = Lock()
        self.total = 0
        """How many frames were refused since the start."""

    def add(self, delivery: Delivery, code: str) -> None:
        """Refuse one; written at the next `flush`."""
        row: dict[str, object] = {
            "at": self._clock_ms(),
            "source": f"{delivery.user_id} {delivery.key}"[:200].encode("ascii", "backslashreplace").decode()[:200],
            "code": code,
            "head": delivery.body[:HEAD_BYTES],
        }
        with self._lock:
            self._pending.append(row)
            self._counts[code] += 1
            self.total += 1

    def flush(self) -> None:
        """Write what was refused, and say so in the audit log, once a minute with all counts."""
        with self._lock:
            rows, alarm = list(self._pending), self._alarm_due()
            self._pending.clear()
            counts = dict(self._counts) if alarm else {}
            if alarm:
                self._counts.clear()
        if not rows and not alarm:
            return
        with write_tx():
            if rows:
                Quarantine.insert_many(rows).execute()
                self._cut()
            if alarm:
                record("frames.refused", "broker:hub", actor=SYSTEM, outcome="refused", detail={"codes": counts})
        if alarm:
            logger.warning("frames refused", extra={"codes": counts})

    def _alarm_due(self) -> bool:
        now_ms = self._clock_ms()
        if not self._counts or now_ms - self._alarmed_ms < _ALARM_EVERY_MS:
            return False
        self._alarmed_ms = now_ms
        return True

    def _cut(self) -> None:
        newest = Quarantine.select(Quarantine.id).order_by(Quarantine.id.desc()).limit(1).offset(self._size - 1)
        last_kept = newest.tuples().first()
        if last_kept is not None:
            Quarantine.delete().where(Quarantine.id < last_kept[0]).execute()

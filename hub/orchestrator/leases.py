"""What one node alone does at a time: a row that names the holder, and until when.

    held("checks", me, now)  ->  True: it is mine for a term, asked again (and prolonged) by the next call
    fence("checks", me, now) ->  inside write_tx: still mine at the commit, or the transaction comes to nothing

A lease says who begins. A node may be stopped between asking and acting, for minutes, and wake when another one holds
it: whatever must not be done twice is fenced in the transaction that does it, or claims its own rows. Time is the
database's (`Leases`), so nodes whose clocks differ agree. SQLite has one engine, by its file lock, and needs none.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from hub.errors import Unavailable
from hub.storage.database import connection, database_clock_ms, guarded, is_postgres, write_tx
from hub.storage.models import Lease
from hub.storage.prepared import Prepared, hole

logger = logging.getLogger(__name__)

TERM_MS = 10_000
CHORES = "chores"
"""Whatever sweeps over all rows, and costs as much whoever does it."""
_RENEW_S = TERM_MS / 3000

_TAKE = Prepared(
    lambda: (
        Lease.insert(name=hole("name"), holder=hole("holder"), until=hole("until"))
        .on_conflict(
            conflict_target=[Lease.name],
            update={Lease.holder: hole("holder"), Lease.until: hole("until")},
            where=(Lease.holder == hole("holder")) | (Lease.until <= hole("now_ms")),
        )
        .returning(Lease.holder)
    )
)


class LeaseLost(Unavailable):
    """Another node does it now; what was begun is rolled back, and nothing is amiss."""


def held(name: str, holder: str, now_ms: int, term_ms: int = TERM_MS) -> bool:
    """Whether this holder has it from now on: taken where nobody has it, prolonged where he does."""
    with write_tx():
        return bool(_TAKE.tuples(name=name, holder=holder, until=now_ms + term_ms, now_ms=now_ms))


def fence(name: str, holder: str, now_ms: int) -> None:
    """Nobody else takes it before this `write_tx` has ended.

    Raises:
        LeaseLost: somebody else has it, or its term is over.
    """
    row: Any = Lease.select().where(Lease.name == name)
    # Several threads of the holder may be at it; who would take it from him waits for all of them.
    lease: Lease | None = (row.for_update("FOR SHARE") if is_postgres() else row).first()
    if lease is None or lease.holder != holder or lease.until <= now_ms:
        raise LeaseLost(f"the lease {name!r} is another node's", code="LEASE_LOST")


def release(holder: str) -> None:
    """Everything that he has is free: he leaves, or is known to be dead."""
    with write_tx():
        Lease.delete().where(Lease.holder == holder).execute()


def holders() -> Mapping[str, str]:
    """The ids of the nodes that hold something now, by what they hold."""
    rows: Any = Lease.select(Lease.name, Lease.holder).where(Lease.until > database_clock_ms()).tuples()
    return dict(rows)


class Leases:
    """One node's. For any thread; asking costs nothing while the answer is fresh.

    Args:
        holder: The node's id.
        clock_ms: Whose word counts for terms.
        is_shared: Whether there may be other nodes; without them everything is ours.
    """

    def __init__(
        self,
        holder: str,
        clock_ms: Callable[[], int] = database_clock_ms,
        is_shared: Callable[[], bool] = is_postgres,
    ) -> None:
        self.holder = holder
        self._clock_ms = clock_ms
        self._is_shared = is_shared
        self._asked: dict[str, float] = {}
        self._lock = threading.Lock()

    def held(self, name: str) -> bool:
        """Whether it is for us to do this now."""
        if not self._is_shared():
            return True
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        with self._lock:
            asked = self._asked.get(name)
        if asked is not None and now - asked < _RENEW_S:
            return True
        with connection():
            ours = held(name, self.holder, self._clock_ms())
        with self._lock:
            if ours:
                self._asked[name] = now
            else:
                self._asked.pop(name, None)
        return ours

    def fence(self, name: str) -> None:
        """Inside `write_tx`: it is ours until the commit.

        Raises:
            LeaseLost: it is not.
        """
        if not self._is_shared():
            return
        try:
            fence(name, self.holder, self._clock_ms())
        except LeaseLost:
            with self._lock:
                self._asked.pop(name, None)
            raise

    def alone(self, name: str, act: Callable[[], object]) -> Callable[[], None]:
        """The same act, done where it is ours to do; each transaction of it is fenced."""

        def act_alone() -> None:
            if not self.held(name):
                return
            try:
                with guarded(lambda: self.fence(name)):
                    act()
            except LeaseLost as lost:
                logger.info("left to another node", extra={"lease": name, "reason": lost.detail})

        return act_alone

    def release(self) -> None:
        """We leave: another one may go on at once."""
        with self._lock:
            self._asked.clear()
        release(self.holder)

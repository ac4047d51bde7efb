"""PostgreSQL as the hub uses it: no dead engine keeps a lock, no request waits for ever.

an engine that was stopped in a transaction      the server ends its session, so that others go on; what it wakes to
                                                 is an error, and what it had taken in comes again
a server that is gone without a word             noticed by the connection itself, within half a minute
a server that is slow, locked or stopped         whoever has `patience` gets an OperationalError when it is used up
"""

import threading
import time
from collections.abc import Generator
from typing import Any

import psycopg
from peewee import OperationalError, Psycopg3Adapter
from playhouse.pool import PooledPostgresqlDatabase
from psycopg.conninfo import conninfo_to_dict
from psycopg.waiting import wait

from hub.storage import patience

IDLE_IN_TRANSACTION_S = 10
_INTERVAL_S = 0.1
# One request has waited in vain: those behind it need not, each for itself.
_AWAY_S = 1.0
_POOL_WAIT_S = 10
_MOST = 64

_SESSION = {
    "application_name": "manyarm",
    "options": f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_S}s",
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


class TooSlow(psycopg.OperationalError):
    """The server did not answer within the patience of whoever asked."""


class HubConnection(psycopg.Connection[Any]):
    """Waits as long as its thread may."""

    def wait(self, gen: Any, interval: float = _INTERVAL_S, timeout: float | None = None) -> Any:
        may_wait_s = patience.left()
        if may_wait_s is None:
            return super().wait(gen, interval, timeout)
        try:
            with patience.waiting():
                return wait(gen, self.pgconn.socket, interval=interval, timeout=may_wait_s)
        except psycopg.errors._WaitTimeout:  # noqa: SLF001  The driver's own name for it; there is no public one.
            # Its answer may come yet, and must not be taken for the answer to another question.
            self.pgconn.finish()
            _away.note()
            raise TooSlow("the database does not answer") from None

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> Generator[Any, Any, Any]:
        """The driver's own steps, ended in time: it counts in seconds, two of them at least."""
        steps = super()._connect_gen(conninfo)
        may_wait_s = patience.left()
        if may_wait_s is None:
            return (yield from steps)
        if _away.is_known():
            raise TooSlow("the database does not answer")
        deadline = time.monotonic() + may_wait_s
        with patience.waiting():
            try:
                wanted = next(steps)
                while True:
                    ready = yield wanted
                    if time.monotonic() > deadline:
                        _away.note()
                        raise TooSlow("the database takes no connection")
                    wanted = steps.send(ready)
            except StopIteration as made:
                return made.value


class _Away:
    """That somebody has just waited in vain."""

    def __init__(self) -> None:
        self._until = 0.0
        self._lock = threading.Lock()

    def note(self) -> None:
        with self._lock:
            self._until = time.monotonic() + _AWAY_S

    def is_known(self) -> bool:
        with self._lock:
            return time.monotonic() < self._until


_away = _Away()


class _Adapter(Psycopg3Adapter):
    def connect(self, db: Any, **parameters: Any) -> HubConnection:
        said = conninfo_to_dict(db.database)
        ours: Any = {name: value for name, value in _SESSION.items() if name not in said}
        return HubConnection.connect(db.database, **ours, **parameters)


class _PatientLock:
    """Threads open and close connections one at a time: whoever has patience waits for his turn no longer than for the
    server itself, though another thread in there may have all the time in the world.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        may_wait_s = patience.left()
        if may_wait_s is None:
            self._lock.acquire()
            return
        with patience.waiting():
            if not self._lock.acquire(timeout=may_wait_s):
                raise OperationalError("the database takes no connection")

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class HubPostgres(PooledPostgresqlDatabase):  # type: ignore[misc]  # peewee ships no types
    """The pool of a process."""

    psycopg3_adapter = _Adapter

    def __init__(self, url: str) -> None:
        super().__init__(
            "postgresql://" + url.partition("://")[2],
            prefer_psycopg3=True,
            autoconnect=False,
            max_connections=_MOST,
            stale_timeout=300,
            timeout=_POOL_WAIT_S,
        )
        self._lock = _PatientLock()

"""Keeps one connection to a target: made when it is needed, made again when it broke, let go when nobody needed it."""

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from spokes.agent.errors import LoginRefused, MachineUnfit, MachineUnreachable
from spokes.remote.link import HandLink, Reply, Session

logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")

_TRY_FOR_S = 45.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 15.0


class Connection(Protocol):
    """An open way to the target."""

    @property
    def weak(self) -> str:
        """Why it is only allowed because the target's settings say so; "" where it is not weak."""
        ...

    def session(self, command: str) -> Session: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Way:
    """How to get there; `home` and `python` may be "" for the usual ones. `connect` raises as `open_connection`."""

    connect: Callable[[], Connection]
    home: str = ""
    python: str = ""


class Connecting:
    """Used by any thread; one of them connects while the others wait."""

    def __init__(self, way: Way, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._way = way
        self._sleep = sleep
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._link: HandLink | None = None
        self._failures = 0
        self._next_try_at = 0.0
        self._failure: MachineUnreachable | None = None
        self._used_at = time.monotonic()
        self._closed = False
        self.weak = ""
        self.made = 0

    def ask(self, do: str, body: bytes = b"", *, timeout_s: float = 120.0, **request: Any) -> Reply:
        """Have something done that may be done twice: asked again over a new connection where one breaks.

        Raises:
            Fault: It could not be done.
            MachineUnreachable: Not for as long as one tries, or not at all.
            Refused: We may not connect.
        """
        return self._patiently(lambda: self.link().ask(do, body, timeout_s=timeout_s, **request))

    def facts(self) -> dict[str, Any]:
        """What the target is, as of when it was connected; as patient as `ask`."""
        return self._patiently(lambda: dict(self.link().facts))

    def link(self) -> HandLink:
        """A hand that lives, as far as one can know; fails at once while it is too early for another try."""
        self._used_at = time.monotonic()
        with self._lock:
            if self._closed:
                raise MachineUnreachable("the spoke leaves")
            if self._link is not None and self._link.is_alive:
                return self._link
            if self._failure is not None and time.monotonic() < self._next_try_at:
                raise self._failure
            return self._connect()

    def rest(self, idle_s: float) -> bool:
        """Let go of a connection that nobody has used for so long; True if there is none now."""
        with self._lock:
            if self._link is not None and time.monotonic() - self._used_at >= idle_s:
                self._let_go()
            return self._link is None

    def close(self) -> None:
        self._closed = True
        with self._lock:
            self._let_go()

    def _patiently(self, work: Callable[[], Answer]) -> Answer:
        ends = time.monotonic() + _TRY_FOR_S
        while True:
            try:
                return work()
            except (LoginRefused, MachineUnfit):
                raise
            except MachineUnreachable:
                if self._closed or time.monotonic() > ends:
                    raise
            self._sleep(max(0.05, min(1.0, self._next_try_at - time.monotonic())))

    def _connect(self) -> HandLink:
        self._let_go()
        try:
            connection = self._way.connect()
            try:
                link = HandLink(connection.session, home=self._way.home, python=self._way.python)
            except BaseException:
                connection.close()
                raise
        except MachineUnreachable as error:
            self._failed(error)
            raise
        self._connection, self._link, self.weak = connection, link, connection.weak
        self._failures, self._failure = 0, None
        self.made += 1
        logger.info("target connected", extra={"host": link.facts["hostname"], "python": link.facts["python"]})
        return link

    def _failed(self, error: MachineUnreachable) -> None:
        self._failures += 1
        longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(self._failures, 10))
        self._next_try_at = time.monotonic() + random.uniform(_FIRST_PAUSE_S, longest)  # noqa: S311  Jitter.
        self._failure = error

    def _let_go(self) -> None:
        link, self._link = self._link, None
        connection, self._connection = self._connection, None
        if link is not None:
            link.close()
        if connection is not None:
            connection.close()

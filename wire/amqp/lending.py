"""pika's I/O loop, which lends its connection to another thread while its own waits for the socket.

    I/O thread     holds the turn ... waits in epoll, the turn let go ... holds the turn ...
    any thread                        takes the turn, sends, gives it back

To wake the I/O thread for each message costs a pipe, two turns of the loop and two changes of thread; who finds the
turn free sends by itself. Nobody waits for the turn: where it is taken, the I/O thread is awake and is told as ever.
It has no other place for this: `tests/wire/test_amqp.py` fails if a release of pika moves it.
"""

import select
import threading
from collections.abc import Callable
from typing import Any

from pika.adapters.select_connection import EPollPoller, IOLoop


class LendingLoop(IOLoop):  # type: ignore[misc]  # pika is not typed for a checker
    """Started by the thread that owns it. Where the system has no epoll it lends nothing."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        super().__init__()

    def start(self) -> None:
        with self._turn:
            super().start()

    def lend(self, act: Callable[[], None]) -> bool:
        """Do it here and now, in the calling thread; False, and nothing was done, where the I/O thread is at work."""
        if not self._turn.acquire(blocking=False):
            return False
        try:
            act()
        finally:
            self._turn.release()
        return True

    def _get_poller(self, *waits: Any, **named: Any) -> Any:
        if not hasattr(select, "epoll"):
            # Nobody lets go of the turn: it is never to be had.
            return super()._get_poller(*waits, **named)
        return _Poller(self._turn, *waits, **named)


class _Poller(EPollPoller):  # type: ignore[misc]  # as above
    def __init__(self, turn: threading.Lock, get_wait_seconds: Any, process_timeouts: Any) -> None:
        self._turn = turn
        super().__init__(get_wait_seconds, process_timeouts)

    def _create_poller(self) -> "_Epoll":
        return _Epoll(self._turn)


class _Epoll:
    """The kernel's, waited for without the turn; it takes changes from other threads while it waits."""

    def __init__(self, turn: threading.Lock) -> None:
        self._turn = turn
        self._kernel = select.epoll()
        self.register, self.modify = self._kernel.register, self._kernel.modify
        self.unregister, self.close = self._kernel.unregister, self._kernel.close

    def poll(self, timeout: float) -> list[tuple[int, int]]:
        self._turn.release()
        try:
            return self._kernel.poll(timeout)
        finally:
            self._turn.acquire()

"""One word for all threads: the daemon is leaving, jobs go on without it."""

import threading
from concurrent.futures import Future
from concurrent.futures import wait as wait_for

_LOOK_EVERY_S = 0.5


class Stopping:
    """Set once; whoever waits for anything waits with it."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    def is_set(self) -> bool:
        return self._event.is_set()

    def wait(self, timeout_s: float) -> bool:
        """Sleep so long, or until the daemon leaves; True if it does."""
        return self._event.wait(timeout_s)

    def wait_for_future(self, future: "Future[None]") -> None:
        """Return when the future is done or the daemon leaves."""
        while not self.is_set():
            if wait_for([future], timeout=_LOOK_EVERY_S).done:
                return

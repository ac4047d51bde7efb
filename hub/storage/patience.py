"""How long a thread waits for the database before it says so: the portal's requests have little, the engine has none.

    with patience(1.5): …     all that this thread waits for in it, together

Whoever asks over HTTP gets an answer within two seconds, if only that the database does not answer. An engine goes on
when the database does, so its threads wait as long as it takes.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_local = threading.local()


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """What this thread waits for in here ends in an OperationalError when the time is used up."""
    former: float | None = left()
    _local.left = seconds
    try:
        yield
    finally:
        _local.left = former


def left() -> float | None:
    """Seconds; None: as long as it takes."""
    found: float | None = getattr(_local, "left", None)
    return found


@contextmanager
def waiting() -> Iterator[None]:
    """What is done in here is waiting, and used up."""
    began = time.monotonic()
    try:
        yield
    finally:
        before = left()
        if before is not None:
            _local.left = max(0.0, before - (time.monotonic() - began))

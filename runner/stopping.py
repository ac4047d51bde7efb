"""What SIGTERM does to a worker: amid its conventions it stops and puts back what it changed, else it goes on.

A cancel, the deadline and the machine's shutdown all end a job by SIGTERM to each of its processes, and by SIGKILL a
grace later. The worker uses the grace.
"""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import Iterator

from runner.errors import JobStopped


@contextmanager
def stopping_at_sigterm() -> Iterator[None]:
    """Within, SIGTERM raises JobStopped once; after, it does nothing: what was begun is put back or finished."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, _go_on)


@contextmanager
def without_sigterm() -> Iterator[None]:
    """Within, SIGTERM waits: for what must be done whole."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stop(*_: object) -> None:
    signal.signal(signal.SIGTERM, _go_on)
    raise JobStopped("the job was told to end")


def _go_on(*_: object) -> None:
    """A handler and not SIG_IGN: what is ignored stays ignored in the scripts."""

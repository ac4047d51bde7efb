"""Being ready for a job: a process apart, with a worker forked below it.

Nothing that only a supervisor needs is imported here: on the way to a script it imports that while its worker, on
another core, imports what the step needs.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import Callable

from runner.worker import Worker, fork_worker


@dataclass(frozen=True)
class Ready:
    """What a supervisor has before it has a job; the token marks this run's service lines."""

    worker: Worker
    token: str


def get_ready(*, first: Callable[[], None] | None = None) -> Ready:
    """Become a process apart with a worker at hand, which does `first` before it waits for its job."""
    _detach()
    # What is here stays: else the first look for garbage, in a job's first milliseconds, goes through all of it, twice.
    gc.freeze()
    return Ready(fork_worker(first), os.urandom(16).hex())


def _detach() -> None:
    """A session of our own, no core dumps, and signals meant for whoever started us pass us by."""
    with suppress(OSError):
        os.setsid()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    for number in (signal.SIGINT, signal.SIGHUP):
        # A handler and not SIG_IGN: what is ignored stays ignored in the scripts.
        signal.signal(number, lambda *_: None)

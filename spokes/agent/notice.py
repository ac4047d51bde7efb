"""Wakes a thread when files in a folder change or a process ends: the kernel's word where it gives one, else a look now
and then.
"""

import contextlib
import ctypes
import ctypes.util
import os
import select
import time
from functools import lru_cache
from pathlib import Path

_IN_MODIFY, _IN_MOVED_TO = 0x2, 0x80
_IN_NONBLOCK, _IN_CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC
LOOK_EVERY_S = 0.005
_EVENTS = 64 * 1024


class FolderNotice:
    """Waits for changes right inside one folder; used by one thread."""

    def __init__(self, folder: Path) -> None:
        self._inotify = _watch(folder)
        self._process: int | None = None
        self._poll = select.poll()
        if self._inotify is not None:
            self._poll.register(self._inotify, select.POLLIN)

    def add_process(self, descriptor: int) -> None:
        """Wake up when this pidfd's process ends too; the descriptor is closed with the notice."""
        self._process = descriptor
        self._poll.register(descriptor, select.POLLIN)

    def process_ended(self) -> bool:
        if self._process is None:
            return False
        only = select.poll()
        only.register(self._process, select.POLLIN)
        return bool(only.poll(0))

    def wait(self, timeout_s: float) -> None:
        """Return when something may have changed, at the latest after the timeout; may return for nothing."""
        if timeout_s <= 0:
            return
        if self._inotify is None:
            time.sleep(min(timeout_s, LOOK_EVERY_S))
            return
        self._poll.poll(timeout_s * 1000)
        with contextlib.suppress(BlockingIOError):
            os.read(self._inotify, _EVENTS)

    def close(self) -> None:
        for descriptor in (self._inotify, self._process):
            if descriptor is not None:
                os.close(descriptor)
        self._inotify = self._process = None


def _watch(folder: Path) -> int | None:
    library = _libc()
    if library is None:
        return None
    descriptor: int = library.inotify_init1(_IN_NONBLOCK | _IN_CLOEXEC)
    if descriptor < 0:
        return None
    if library.inotify_add_watch(descriptor, os.fsencode(folder), _IN_MODIFY | _IN_MOVED_TO) < 0:
        os.close(descriptor)
        return None
    return descriptor


@lru_cache(maxsize=1)
def _libc() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(ctypes.util.find_library("c") or "libc.so.6", use_errno=True)
        return library if hasattr(library, "inotify_init1") else None
    except OSError:
        return None

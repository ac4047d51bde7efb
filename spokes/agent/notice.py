"""Wakes a thread when files in a folder change or a process ends: the kernel's word where it gives one, else a look now
and then.
"""

import ctypes
import ctypes.util
import os
import select
import struct
import time
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path

_IN_MODIFY, _IN_MOVED_TO = 0x2, 0x80
_IN_NONBLOCK, _IN_CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC
LOOK_EVERY_S = 0.005
_EVENTS = 64 * 1024
# wd, mask, cookie, length of the name that follows
_EVENT = struct.Struct("iIII")


class FolderNotice:
    """Waits for changes right inside one folder; used by one thread.

    Args:
        folder: It exists.
        names: The files that matter; others change without a word.
    """

    def __init__(self, folder: Path, names: Collection[str]) -> None:
        self._names = frozenset(os.fsencode(name) for name in names)
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
        ends = time.monotonic() + timeout_s
        while (left_s := ends - time.monotonic()) > 0:
            ready = dict(self._poll.poll(left_s * 1000))
            matters = self._heard() if self._inotify in ready else False
            if matters or self._process in ready:
                return

    def _heard(self) -> bool:
        """Whether a file that matters has changed, or more has happened than the kernel keeps."""
        assert self._inotify is not None
        try:
            events = os.read(self._inotify, _EVENTS)
        except BlockingIOError:
            return False
        at = 0
        while at < len(events):
            watch, _, _, size = _EVENT.unpack_from(events, at)
            at += _EVENT.size + size
            if watch < 0 or events[at - size : at].rstrip(b"\0") in self._names:
                return True
        return False

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

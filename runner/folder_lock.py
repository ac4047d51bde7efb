"""A lock on a folder: who deploys into it is alone there, whichever spoke, home or session started the job."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Callable

from runner.isolation import IsolationLock

POLL_S = 0.1
WORD_EVERY_S = 10.0


class FolderLock:
    """Lies on the folder itself, so that every process of the machine meets it; the kernel ends it with its holder."""

    def __init__(self, folder: Path, home: Path, cid: str) -> None:
        self._folder, self._home, self._cid = folder, home, cid
        self._instead: IsolationLock | None = None
        self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def wait(self, say: Callable[[str], None]) -> None:
        """Return once it is ours; the job's own deadline ends the waiting."""
        next_word = 0.0
        while not self._is_taken():
            if time.monotonic() >= next_word:
                say(f"waiting for another job that deploys to {self._folder}")
                next_word = time.monotonic() + WORD_EVERY_S
            time.sleep(POLL_S)

    def close(self) -> None:
        os.close(self._descriptor)
        if self._instead is not None:
            self._instead.close()

    def _is_taken(self) -> bool:
        if self._instead is not None:
            return self._instead.is_taken()
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            # Some network file systems lock no folder: then the jobs of one home see each other at least.
            self._instead = IsolationLock(self._home, f"folder {self._folder}", self._cid)
            return self._instead.is_taken()
        return True

"""The isolation lock: one job at a time on this machine for each name, whichever spoke or session started it."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path


class IsolationLock:
    """A lock file in the spoke's home; the kernel gives it back when its holder dies."""

    def __init__(self, home: Path, name: str, cid: str) -> None:
        import hashlib  # late: few jobs have a lock

        folder = home / "locks"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / hashlib.sha256(name.encode("utf-8")).hexdigest()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._cid = cid

    def is_taken(self) -> bool:
        """Try once; True where the lock is ours now."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps({"job": self._cid, "pid": os.getpid()}).encode("ascii"), 0)
        return True

    def holder(self) -> str:
        """The job that holds it, as far as its file tells."""
        try:
            return str(json.loads(os.pread(self._descriptor, 4096, 0))["job"])
        except (ValueError, KeyError, TypeError):
            return "another job"

    def fileno(self) -> int:
        return self._descriptor

    def close(self) -> None:
        os.close(self._descriptor)

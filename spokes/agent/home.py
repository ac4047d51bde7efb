"""Where things lie in a spoke's home, and the lock that lets one daemon serve it."""

import contextlib
import fcntl
import itertools
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from spokes.agent.errors import HomeInUse, HomeUnsafe
from spokes.agent.private_files import make_private_folder

# Ids come from the hub and name folders here: nothing else may (security.md R2).
ID = re.compile(r"[0-9a-f]{32}")
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class SpokeHome:
    """All paths of one spoke."""

    root: Path

    @property
    def identity(self) -> Path:
        return self.root / "identity"

    @property
    def trust(self) -> Path:
        return self.root / "trust"

    @property
    def journal(self) -> Path:
        return self.root / "journal.db"

    @property
    def jobs(self) -> Path:
        return self.root / "jobs"

    @property
    def run(self) -> Path:
        """What lives as long as a daemon does."""
        return self.root / "run"

    @property
    def status(self) -> Path:
        return self.run / "status.json"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine"

    def make(self) -> None:
        """Make every folder that is missing, 0700; a home that others may write to is refused.

        Raises:
            HomeUnsafe: Somebody else owns the home or may write into it.
        """
        names = "identity trust jobs run quarantine chunks packages runners locks applications"
        make_private_folder(self.root)
        found = self.root.stat()
        if found.st_uid not in {os.geteuid(), 0} or stat.S_IMODE(found.st_mode) & 0o022:
            raise HomeUnsafe(f"the home {self.root} can be changed by other users; expected mode 0700 and this user")
        for name in names.split():
            make_private_folder(self.root / name)

    def remove_leftovers(self) -> None:
        """What a daemon that was killed had begun to write; for the one that holds the home, before it begins."""
        half_written = [
            *(self.root.glob(f".{name}.json.*") for name in ("runners", "unpacked")),
            *(
                (self.root / name).glob(".*")
                for name in ["identity", "trust", "run", "quarantine", "chunks", "packages"]
            ),
            self.run.glob("standby-*.err"),
        ]
        for path in itertools.chain.from_iterable(half_written):
            path.unlink(missing_ok=True)
        for folder in self.jobs.iterdir():
            # Laid out for a run that never was; one that holds anything stays.
            with contextlib.suppress(OSError):
                folder.rmdir()

    def hold(self) -> "HomeLock":
        """Keep other daemons out until the lock is released or this process ends."""
        return HomeLock(self.run / "daemon.lock")


class HomeLock:
    """A lock on a file, which the kernel drops with the process however that ends."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._descriptor)
            raise HomeInUse(f"another manyarm-spoke (process {owner}) serves {path.parent.parent}; stop it") from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        os.close(self._descriptor)

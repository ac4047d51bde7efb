"""Where a package's releases lie on this machine, and how the runner knows what of it is its own.

    <root>/current -> releases/1.0.0         without `install_to`, root and releases are one folder of the spoke's home
    <root>/releases/1.0.0/.manyarm-release   which job made it
    <root>/releases/.manyarm/                private: what is being extracted or removed, and what releases looked like

A release gets its name by one rename, complete; what lies in `.manyarm` is never taken for one.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import stat
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Iterator, List, Tuple

from runner.deployment import RunningDeployment
from runner.errors import StepFailed

MARKER = ".manyarm-release"
PRIVATE = ".manyarm"
_MARKER_MAX_BYTES = 4096
_NEW, _GONE, _LOOK = "new-", "gone-", ".look"
_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]")


@dataclass(frozen=True)
class ApplicationFolder:
    """`root` and `releases` as in the drawing above."""

    root: Path
    releases: Path

    @classmethod
    def of(cls, deployment: RunningDeployment) -> ApplicationFolder:
        if deployment.root is None or deployment.releases is None:
            raise StepFailed("nothing is known yet of the package's folder")
        return cls(deployment.root, deployment.releases)

    @property
    def pointer(self) -> Path:
        return self.root / "current"

    def current(self) -> Path | None:
        """What `current` points to; None where there is no such link."""
        if not self.pointer.is_symlink():
            return None
        return Path(os.path.normpath(self.root / self.pointer.readlink()))

    def make(self) -> None:
        """Make what is missing of it.

        Raises:
            StepFailed: our private folder is not ours, or others may write to it.
        """
        self.releases.mkdir(mode=0o755, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            self._private.mkdir(mode=0o700)
        found = self._private.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            sentence = "is not the runner's own folder: nobody else may write to it; look into it, and move it away"
            raise StepFailed(f"{self._private} {sentence}")

    def place(self) -> Path:
        """A new path below it for what is not whole yet."""
        return self._private / f"{_NEW}{os.urandom(8).hex()}"

    def free_name(self, version: str) -> Path:
        """The first of `1.2.3`, `1.2.3-1`, `1.2.3-2`, … that does not exist."""
        wanted = self.releases / safe_name(version)
        names = itertools.chain([wanted], (wanted.with_name(f"{wanted.name}-{n}") for n in itertools.count(1)))
        return next(path for path in names if not os.path.lexists(path))

    def settle(self, made: Path, release: Path, job: str) -> None:
        """Let what was made at a `place` become this release, at once and with the mark of its job."""
        marker = made / MARKER
        if marker.is_dir() and not marker.is_symlink():
            raise StepFailed(f"the package has a folder {MARKER}, which is the runner's own name")
        marker.unlink(missing_ok=True)
        descriptor = os.open(marker, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(json.dumps({"release": release.name, "job": job}).encode("ascii"))
        made.rename(release)

    def maker(self, release: Path) -> str:
        """The job that made this release under this name; empty where none of ours did, or it was moved since."""
        if release.parent != self.releases or release.is_symlink():
            return ""
        try:
            descriptor = os.open(release / MARKER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as stream:
                mark = json.loads(stream.read(_MARKER_MAX_BYTES))
            return str(mark["job"]) if mark["release"] == release.name else ""
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def made_here(self) -> Iterator[Tuple[Path, str]]:
        """Every release that the runner made here, and the job that did."""
        for path in sorted(self.releases.iterdir()):
            maker = self.maker(path)
            if maker:
                yield path, maker

    def look(self, release: Path) -> Path:
        """The file that says how this release looked when it was installed."""
        return self._private / f"{release.name}{_LOOK}"

    def remove(self, release: Path) -> None:
        """Remove a release; from its first moment on it is none any more. Links are removed, never followed."""
        gone = self._private / f"{_GONE}{os.urandom(8).hex()}"
        release.rename(gone)
        self.look(release).unlink(missing_ok=True)
        shutil.rmtree(gone)

    def clear(self) -> List[Exception]:
        """Remove what jobs that were ended by force have left; returns what could not be removed, and why."""
        failures: List[Exception] = []
        for path in sorted(self._private.iterdir()):
            if path.name.endswith(_LOOK) and os.path.lexists(self.releases / path.name[: -len(_LOOK)]):
                continue
            try:
                _remove(path)
            except (OSError, RecursionError) as error:
                failures.append(error)
        return failures

    @property
    def _private(self) -> Path:
        return self.releases / PRIVATE


def safe_name(text: str) -> str:
    """A file name for a text from elsewhere, never a hidden one; two different texts never share one."""
    cleaned = _UNSAFE.sub("_", text)[:100]
    if cleaned == text and text and not text.startswith("."):
        return text
    return f"{cleaned.strip('.')}-{sha256(text.encode('utf-8')).hexdigest()[:8]}"


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()

"""Files of the machine that a step replaces, and that come back as they were when it fails."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import List

from runner.errors import StepFailed
from runner.system_access import SystemAccess

PRIVATE = 0o600


@dataclass(frozen=True)
class WantedFile:
    """How a file should stand; `content` None means that it should not be there.

    Args:
        path: Absolute.
        content: Its bytes, or the target where it is a link.
        mode: Of a new file; one that is there keeps its own, unless this one is private.
        is_link: A symbolic link; `content` is its target.
    """

    path: Path
    content: bytes | None
    mode: int = 0o644
    is_link: bool = False


def is_private(wanted: WantedFile) -> bool:
    """Whether not everybody may read the file, as it is or as it should be."""
    if wanted.mode == PRIVATE:
        return True
    try:
        return not wanted.path.stat().st_mode & 0o077
    except FileNotFoundError:
        return False
    except OSError:
        return True


@dataclass(frozen=True)
class _Before:
    path: Path
    content: bytes | None
    mode: int
    target: str | None


class ReplacedFiles:
    """Remembers what was there before the first change of each file."""

    def __init__(self, access: SystemAccess) -> None:
        self._access = access
        self._before: List[_Before] = []
        self._made_folders: List[Path] = []

    @property
    def is_changed(self) -> bool:
        return bool(self._before)

    def stands(self, wanted: WantedFile) -> bool:
        """Whether a file stands as it should."""
        path = wanted.path
        if wanted.content is None:
            return not (path.is_symlink() or path.exists())
        if wanted.is_link:
            return path.is_symlink() and str(path.readlink()).encode() == wanted.content
        if path.is_symlink() or self._access.read(path) != wanted.content:
            return False
        return wanted.mode != PRIVATE or not path.stat().st_mode & 0o077

    def make(self, wanted: WantedFile) -> bool:
        """Have a file stand as it should; False where it does already."""
        if self.stands(wanted):
            return False
        before = self._look(wanted.path)
        if wanted.content is None:
            self._before.append(before)
            self._access.remove(wanted.path)
            return True
        self._made_folders += self._access.make_folder(wanted.path.parent)
        self._before.append(before)
        if wanted.is_link:
            self._access.link(wanted.path, wanted.content.decode("utf-8", "surrogateescape"))
        else:
            keeps_mode = before.content is not None and wanted.mode != PRIVATE
            self._access.write(wanted.path, wanted.content, before.mode if keeps_mode else wanted.mode)
        return True

    def put_back(self) -> List[Path]:
        """Have every file as it was, the last changed one first.

        Raises:
            StepFailed: some could not be put back; the others are.
        """
        done: List[Path] = []
        faults: List[str] = []
        while self._before:
            before = self._before.pop()
            try:
                self._restore(before)
                done.append(before.path)
            except (StepFailed, OSError) as error:
                faults.append(f"{before.path}: {error}")
        for folder in reversed(self._made_folders):
            self._access.remove_folder(folder)
        self._made_folders.clear()
        if faults:
            raise StepFailed(f"not put back: {'; '.join(faults)}")
        return done

    def _look(self, path: Path) -> _Before:
        if path.is_symlink():
            return _Before(path, None, 0, str(path.readlink()))
        content = self._access.read(path)
        mode = stat.S_IMODE(path.stat().st_mode) if content is not None else 0
        return _Before(path, content, mode, None)

    def _restore(self, before: _Before) -> None:
        if before.target is not None:
            self._access.link(before.path, before.target)
        elif before.content is None:
            self._access.remove(before.path)
        else:
            self._access.write(before.path, before.content, before.mode)

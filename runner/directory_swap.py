"""Putting a release into a directory that has a fixed name, so that it can be taken back, also by another job later.

    <directory>/.manyarm-swap/new/       the whole release, copied before anything of the directory changes
    <directory>/.manyarm-swap/old/       what the release replaced, and what was purged
    <directory>/.manyarm-swap/plan.json  every move that takes `new` in and `old` out; there from before the first move
                                         until the deployment is known to have succeeded

All moves are renames within one file system: they take moments, need no room, and what lies where tells which of them
were done. So what a killed job left is put back from the plan alone.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path
from typing import AbstractSet, Iterator, List, Pattern, Sequence, Set, Tuple

from runner.errors import StepFailed

STAGING = ".manyarm-swap"
_PUT, _AWAY, _REPLACE = "put", "away", "replace"
Move = Tuple[str, str]


class DirectorySwap:
    """One deployment into one directory, in which no other job works."""

    def __init__(self, directory: Path, *made: Path) -> None:
        """`made` are folders that `make_directory` has made for it."""
        self.directory = directory
        self._made = made
        self._staging = directory / STAGING
        self._new, self._old = self._staging / "new", self._staging / "old"
        self._plan = self._staging / "plan.json"

    def make_directory(self) -> Tuple[Path, ...]:
        """Make it where it is missing; returns the folders that were made, outermost first."""
        missing = [path for path in (self.directory, *self.directory.parents) if not os.path.lexists(path)]
        for path in reversed(missing):
            path.mkdir(mode=0o755)
        if not _is_folder(self.directory):
            raise StepFailed(f"copy_to is no directory: {self.directory}")
        return tuple(reversed(missing))

    def repair(self) -> str:
        """Put back what an interrupted job has moved, and clear what it left; returns that job, "" without any."""
        if not os.path.lexists(self._staging):
            return ""
        if not _is_folder(self._staging):
            raise StepFailed(f"{self._staging} is no folder; the runner keeps in it what it is about to rename")
        job, moves = self._read_plan()
        self._put_back(moves)
        self.clear()
        return job

    def prepare(self, source: Path, leave_out: AbstractSet[str]) -> int:
        """Copy a release beside what is there; returns how many files it has.

        Args:
            source: The release; links in it are copied as links.
            leave_out: What of its top folder is not copied.
        """
        self._staging.mkdir(mode=0o700)
        self._old.mkdir()
        return _copy_folder(source, self._new, leave_out)

    def swap(self, job: str, *, purge: bool, kept: Sequence[Pattern[str]]) -> Tuple[int, int]:
        """Take the copy in; returns how many things were replaced and how many purged.

        Args:
            job: Who does it.
            purge: Whether everything goes that was there before.
            kept: What of it a purge leaves where it is, by relative names; a folder with all that is in it.

        Raises:
            StepFailed: a folder and a file, or a link, stand in each other's way; nothing was moved.
            OSError: a move failed; `put_back` undoes those before it.
        """
        moves = list(_Merge(self._new, self.directory, purge=purge, kept=kept).moves(""))
        self._write_plan(job, moves)
        for action, name in moves:
            self._move(action, name)
        taken = {name for action, name in moves if action != _AWAY}
        purged = sum(action == _AWAY and name not in taken for action, name in moves)
        return sum(action != _PUT for action, _ in moves) - purged, purged

    def put_back(self) -> bool:
        """Undo all moves, whichever of them were done, and remove what was made; False where no move was planned."""
        was_planned = os.path.lexists(self._plan)
        self._put_back(self._read_plan()[1])
        self.clear()
        with suppress(OSError):
            # Not empty any more: somebody else uses it too.
            for path in reversed(self._made):
                path.rmdir()
        return was_planned

    def clear(self) -> None:
        """Remove what is kept for going back; from its first moment on there is no going back."""
        self._plan.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            shutil.rmtree(self._staging)

    def _move(self, action: str, name: str) -> None:
        here, new, old = self.directory / name, self._new / name, self._old / name
        if action != _PUT:
            old.parent.mkdir(parents=True, exist_ok=True)
        if action == _REPLACE:
            # Whoever opens it meanwhile sees the old file or the new one.
            try:
                os.link(here, old, follow_symlinks=False)
            except OSError:
                here.rename(old)
        if action == _AWAY:
            here.rename(old)
        else:
            new.rename(here)

    def _put_back(self, moves: List[Move]) -> None:
        for action, name in reversed(moves):
            here, new, old = self.directory / name, self._new / name, self._old / name
            if action == _PUT:
                if os.path.lexists(here) and not os.path.lexists(new):
                    here.rename(new)
            elif os.path.lexists(old):
                if action == _AWAY and os.path.lexists(here):
                    # Made by somebody after we took the old one away.
                    here.rename(self._staging / f"late-{os.urandom(8).hex()}")
                old.replace(here)

    def _write_plan(self, job: str, moves: List[Move]) -> None:
        part = self._plan.with_suffix(".part")
        with part.open("w", encoding="ascii") as stream:
            json.dump({"job": job, "moves": moves}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        part.rename(self._plan)

    def _read_plan(self) -> Tuple[str, List[Move]]:
        """Nothing where no move was made yet."""
        try:
            plan = json.loads(self._plan.read_bytes())
        except FileNotFoundError:
            return "", []
        return str(plan["job"]), [(str(action), str(name)) for action, name in plan["moves"]]


class _Merge:
    """What must be moved to take a new tree into one that is there."""

    def __init__(self, new: Path, directory: Path, *, purge: bool, kept: Sequence[Pattern[str]]) -> None:
        self._new, self._directory = new, directory
        self._purge, self._kept = purge, kept

    def moves(self, inner: str) -> Iterator[Move]:
        new, there = _names(self._new / inner), _names(self._directory / inner)
        if not inner:
            there.discard(STAGING)
        for name in sorted(there - new):
            yield from self._purged(_join(inner, name))
        for name in sorted(new):
            if name in there:
                yield from self._over(_join(inner, name))
            else:
                yield (_PUT, _join(inner, name))

    def _over(self, name: str) -> Iterator[Move]:
        """What the release has and the directory too."""
        is_folder, was_folder = _is_folder(self._new / name), _is_folder(self._directory / name)
        if not is_folder and not was_folder:
            yield (_REPLACE, name)
            return
        purged = self._purged(name)
        if purged == [(_AWAY, name)]:
            yield from purged
            yield (_PUT, name)
        elif is_folder and was_folder:
            yield from self.moves(name)
        else:
            here = self._directory / name
            what = "a symbolic link" if here.is_symlink() else "a folder" if was_folder else "a file"
            other = "a folder" if is_folder else "a file"
            raise StepFailed(f"{here} is {what}, and the package has {other} of this name: remove it, or purge it")

    def _purged(self, name: str) -> List[Move]:
        """What goes of a thing that is there: all of it, what is not kept of it, or nothing."""
        path = self._directory / name
        is_folder = _is_folder(path)
        # What is kept of a folder by `uploads/**` is the folder, too.
        names = (name, f"{name}/") if is_folder else (name,)
        if not self._purge or any(glob.match(one) for glob in self._kept for one in names):
            return []
        if not self._kept or not is_folder:
            return [(_AWAY, name)]
        inner = {child: self._purged(child) for child in (_join(name, found) for found in sorted(_names(path)))}
        if all(moves == [(_AWAY, child)] for child, moves in inner.items()):
            return [(_AWAY, name)]
        return [move for moves in inner.values() for move in moves]


def _copy_folder(source: Path, target: Path, leave_out: AbstractSet[str] = frozenset()) -> int:
    target.mkdir()
    count = 0
    with os.scandir(source) as found:
        for entry in found:
            if entry.name in leave_out:
                continue
            there = target / entry.name
            if entry.is_symlink():
                there.symlink_to(Path(entry.path).readlink())
                count += 1
            elif entry.is_dir():
                count += _copy_folder(Path(entry.path), there)
            elif entry.is_file():
                shutil.copy2(entry.path, there, follow_symlinks=False)
                count += 1
            else:
                raise StepFailed(f"{entry.path} is no plain file, folder or link; it cannot be copied")
    with suppress(OSError):
        shutil.copymode(source, target)
    return count


def _is_folder(path: Path) -> bool:
    """A real one, no link to one."""
    return os.path.lexists(path) and stat.S_ISDIR(path.lstat().st_mode)


def _names(folder: Path) -> Set[str]:
    return {path.name for path in folder.iterdir()}


def _join(inner: str, name: str) -> str:
    return f"{inner}/{name}" if inner else name

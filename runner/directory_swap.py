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
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import AbstractSet, Iterator, List, Pattern, Sequence, Set, Tuple

from runner.crash import crash_point
from runner.errors import StepFailed

STAGING = ".manyarm-swap"
_NEW, _OLD, _PLAN = "new", "old", "plan.json"
_PUT, _AWAY, _REPLACE = "put", "away", "replace"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NOT_OURS = "{} is not the runner's own folder: nobody else may write to it; look into it, and move it away"
Move = Tuple[str, str]


class DirectorySwap:
    """One deployment into one directory, in which no other job works.

    The directory may belong to somebody whom the runner does not trust (the application's user): what is ours in it is
    taken by descriptor, and nothing is moved through a link.
    """

    def __init__(self, directory: Path, *made: Path) -> None:
        """`made` are folders that `make_directory` has made for it."""
        self.directory = directory
        self._made = made
        self._staging = directory / STAGING

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
        job = self._put_back()
        self.clear()
        return job

    def prepare(self, source: Path, leave_out: AbstractSet[str]) -> int:
        """Copy a release beside what is there; returns how many files it has.

        Args:
            source: The release; links in it are copied as links.
            leave_out: What of its top folder is not copied.
        """
        self._staging.mkdir(mode=0o700)
        with self._ours() as ours:
            (ours / _OLD).mkdir()
            return _copy_folder(source, ours / _NEW, {STAGING, *leave_out})

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
        with self._ours() as ours:
            moves = list(_Merge(ours / _NEW, self.directory, purge=purge, kept=kept).moves(""))
            _write_plan(ours, job, moves)
            for action, name in moves:
                with self._place(name) as here:
                    _move(action, here, ours / _NEW / name, ours / _OLD / name)
                crash_point("swap.moved")
        taken = {name for action, name in moves if action != _AWAY}
        purged = sum(action == _AWAY and name not in taken for action, name in moves)
        return sum(action != _PUT for action, _ in moves) - purged, purged

    def put_back(self) -> bool:
        """Undo all moves, whichever of them were done, and remove what was made; False where no move was planned."""
        job = self._put_back() if os.path.lexists(self._staging) else ""
        self.clear()
        with suppress(OSError):
            # Not empty any more: somebody else uses it too.
            for path in reversed(self._made):
                path.rmdir()
        return bool(job)

    def clear(self) -> None:
        """Remove what is kept for going back; from its first moment on there is no going back."""
        if os.path.lexists(self._staging):
            with self._ours() as ours:
                (ours / _PLAN).unlink(missing_ok=True)
            shutil.rmtree(self._staging)

    def _put_back(self) -> str:
        """Returns the job whose plan it was; empty where none had begun to move anything."""
        with self._ours() as ours:
            job, moves = _read_plan(ours)
            for action, name in reversed(moves):
                try:
                    with self._place(name, make=True) as here:
                        _undo(action, here, ours / _NEW / name, ours / _OLD / name)
                except OSError as error:
                    raise StepFailed(
                        f"{self.directory / name} cannot be put back ({error.strerror}); what job {job} replaced is in "
                        f"{self._staging / _OLD}: put it back by hand and remove {self._staging}"
                    ) from error
        return job

    @contextmanager
    def _ours(self) -> Iterator[Path]:
        """Our private folder, by its descriptor: whoever renames it meanwhile leads nobody elsewhere."""
        try:
            descriptor = os.open(self._staging, _FOLDER)
        except NotADirectoryError as error:
            raise StepFailed(_NOT_OURS.format(self._staging)) from error
        try:
            found = os.fstat(descriptor)
            if found.st_uid != os.geteuid() or found.st_mode & 0o077:
                raise StepFailed(_NOT_OURS.format(self._staging))
            yield _by(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def _place(self, name: str, *, make: bool = False) -> Iterator[Path]:
        """A thing of the directory, by the descriptor of the folder that it is in; no link on the way is followed."""
        *folders, last = name.split("/")
        descriptor = os.open(self.directory, _FOLDER)
        try:
            for folder in folders:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(folder, 0o755, dir_fd=descriptor)
                deeper = os.open(folder, _FOLDER, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = deeper
            yield _by(descriptor) / last
        finally:
            os.close(descriptor)


def _move(action: str, here: Path, new: Path, old: Path) -> None:
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


def _undo(action: str, here: Path, new: Path, old: Path) -> None:
    if action == _PUT:
        if os.path.lexists(here) and not os.path.lexists(new):
            here.rename(new)
    elif os.path.lexists(old):
        if action == _AWAY and os.path.lexists(here):
            # Made by somebody after we took the old one away.
            here.rename(old.with_name(f"{old.name}.{os.urandom(8).hex()}"))
        old.replace(here)


def _write_plan(ours: Path, job: str, moves: List[Move]) -> None:
    part = ours / f"{_PLAN}.part"
    with part.open("w", encoding="ascii") as stream:
        json.dump({"job": job, "moves": moves}, stream)
        stream.flush()
        os.fsync(stream.fileno())
    part.rename(ours / _PLAN)


def _read_plan(ours: Path) -> Tuple[str, List[Move]]:
    """Nothing where no move was made yet."""
    try:
        plan = json.loads((ours / _PLAN).read_bytes())
    except FileNotFoundError:
        return "", []
    return str(plan["job"]), [(str(action), str(name)) for action, name in plan["moves"]]


def _by(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}")


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

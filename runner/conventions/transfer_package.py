"""Put the package's file, as it was uploaded, into a directory: whole or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Tuple

from runner.deployment import RunningDeployment
from runner.errors import StepFailed
from runner.folder_lock import FolderLock
from runner.outputs_to_come import waits_for_outputs

_MODE = re.compile(r"0?[0-7]{3}\Z", re.ASCII)
_NAME_MAX_BYTES = 255
_COPY_BYTES = 1024 * 1024
# What is being written; who holds the folder's lock may remove what others have left.
_PART = ".manyarm-{}.part"


@dataclass(frozen=True)
class _Transfer:
    """What goes where. `digest` is empty where only the spoke could compare the bytes with what was uploaded."""

    source: Path
    goal: Path
    mode: int
    may_replace: bool
    digest: str


class TransferPackage:
    name = "transfer package"

    def install(self, deployment: RunningDeployment) -> None:
        transfer = _transfer_of(deployment)
        folder = transfer.goal.parent
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        with closing(FolderLock(folder, deployment.home, deployment.job_file.cid)) as lock:
            lock.wait(deployment.say)
            _clear(folder)
            if _is_there(transfer):
                transfer.goal.chmod(transfer.mode)
                deployment.say(f"{transfer.goal} is there already with the same bytes")
            else:
                size = _put(transfer)
                deployment.say(f"put {transfer.goal} ({size} bytes)")
        deployment.channel.output("PackageFile", str(transfer.goal))

    def rollback(self, deployment: RunningDeployment) -> None:
        """A file appears whole, as the last thing that is done; until then there is nothing to take back."""


class TellTransfer:
    """What a preview says."""

    name = "tell of the transfer"

    def install(self, deployment: RunningDeployment) -> None:
        if waits_for_outputs(deployment):
            return
        transfer = _transfer_of(deployment)
        if _is_there(transfer):
            deployment.say(f"{transfer.goal} is there already with the same bytes")
        elif os.path.lexists(transfer.goal):
            deployment.say(f"would replace {transfer.goal}, which has other bytes")
        else:
            deployment.say(f"would put {transfer.goal} ({transfer.source.stat().st_size} bytes)")

    def rollback(self, deployment: RunningDeployment) -> None:
        """Nothing was done."""


def _transfer_of(deployment: RunningDeployment) -> _Transfer:
    package, source = deployment.package, deployment.package_file
    # A spoke unpacks .tar.zst, for a target's Python may not.
    is_unpacked = package.extension == "tar.zst" and source.name.endswith(".tar")
    name = deployment.text("name") or f"{package.id}.{package.version}.{'tar' if is_unpacked else package.extension}"
    folder, mode = deployment.text("to"), deployment.text("mode") or "0644"
    if not folder.startswith("/") or ".." in Path(folder).parts or "\0" in folder:
        raise StepFailed(f"to must be an absolute path without '..', not {folder!r}")
    if name in (".", "..") or "/" in name or not name.isprintable() or len(os.fsencode(name)) > _NAME_MAX_BYTES:
        raise StepFailed(f"the file cannot have the name {name!r}")
    if not _MODE.match(mode):
        raise StepFailed(f"mode takes three octal digits such as '0640', not {mode!r}")
    digest = "" if is_unpacked else package.sha256
    may_replace = deployment.properties["existing"] == "replace"
    return _Transfer(source, Path(folder, name), int(mode, 8), may_replace, digest)


def _is_there(transfer: _Transfer) -> bool:
    """Whether nothing need be written.

    Raises:
        StepFailed: something is there that must not be replaced.
    """
    try:
        found = transfer.goal.lstat()
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(found.st_mode):
        raise StepFailed(
            f"{transfer.goal} is no plain file; move it away, the runner never removes what it did not make"
        )
    if found.st_size == transfer.source.stat().st_size and _digest(transfer.goal) == (
        transfer.digest or _digest(transfer.source)
    ):
        return True
    if not transfer.may_replace:
        raise StepFailed(f"{transfer.goal} is there with other bytes, and `existing` says to fail then")
    return False


def _put(transfer: _Transfer) -> int:
    """Write it beside its place, compare, rename; returns how many bytes it has."""
    part = transfer.goal.with_name(_PART.format(os.urandom(8).hex()))
    try:
        size, digest = _copied(transfer, part)
        if transfer.digest and digest != transfer.digest:
            raise StepFailed(
                f"the package's file is damaged: its SHA-256 is {digest}, expected {transfer.digest}; deploy again"
            )
        part.rename(transfer.goal)
    except OSError as error:
        raise StepFailed(f"{transfer.goal} cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    descriptor = os.open(transfer.goal.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return size


def _copied(transfer: _Transfer, part: Path) -> Tuple[int, str]:
    size, digest = 0, hashlib.sha256()
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with transfer.source.open("rb") as reading, os.fdopen(descriptor, "wb") as writing:
        while piece := reading.read(_COPY_BYTES):
            size += len(piece)
            digest.update(piece)
            writing.write(piece)
        writing.flush()
        os.fchmod(writing.fileno(), transfer.mode)
        os.fsync(writing.fileno())
    return size, digest.hexdigest()


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(_COPY_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _clear(folder: Path) -> None:
    """Remove what transfers that were ended by force have left."""
    for path in folder.glob(_PART.format("*")):
        with suppress(OSError):
            path.unlink()

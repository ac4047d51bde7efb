"""Copy the release to the directory with a fixed name that the step names, and take it back where something fails."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict

from runner.application_folder import MARKER, ApplicationFolder
from runner.deployment import RunningDeployment
from runner.directory_swap import DirectorySwap
from runner.errors import StepFailed
from runner.folder_lock import FolderLock
from runner.package_files import compiled_glob
from runner.packaged_scripts import packaged_script_names

# Beside those that lie directly below `/`: not one of them belongs to a single step.
_OF_THE_SYSTEM = frozenset(
    {
        *(f"/usr/{name}" for name in ("bin", "games", "include", "lib", "lib32", "lib64", "libexec", "local")),
        *(
            f"/usr/{name}"
            for name in ("share", "src", "local/bin", "local/etc", "local/lib", "local/sbin", "local/share")
        ),
        *(f"/var/{name}" for name in ("cache", "lib", "log", "mail", "run", "spool", "tmp")),
        *(f"/etc/{name}" for name in ("pam.d", "ssh", "ssl", "systemd")),
    }
)


class CopyToDirectory:
    """`copy_to`, `purge` and `purge_except`; from here on scripts run in that directory."""

    name = "copy to directory"

    def install(self, deployment: RunningDeployment) -> None:
        properties = deployment.properties
        if not deployment.text("copy_to"):
            if properties["purge"] or properties["purge_except"]:
                deployment.warn("purge and purge_except do nothing without copy_to")
            return
        directory = _checked(deployment)
        kept = [compiled_glob(deployment.variables.expand(g, "a glob")) for g in properties["purge_except"]]
        swap = DirectorySwap(directory)
        made = swap.make_directory()
        lock = FolderLock(directory, deployment.home, deployment.job_file.cid)
        deployment.until_the_end.callback(lock.close)
        lock.wait(deployment.say)
        # Only now: what lies there until then may be another job's.
        deployment.swapped = (directory, *made)
        interrupted = swap.repair()
        if interrupted:
            deployment.warn(f"job {interrupted} was ended while it deployed to {directory}: what it replaced is back")
        # The package's own scripts run from the release.
        not_copied = {MARKER, *packaged_script_names(deployment.release_folder)}
        count = swap.prepare(deployment.release_folder, not_copied)
        replaced, purged = swap.swap(deployment.job_file.cid, purge=properties["purge"], kept=kept)
        deployment.set_installed(directory)
        deployment.say(f"copied {count} files to {directory}: {replaced} things replaced, {purged} purged")

    def rollback(self, deployment: RunningDeployment) -> None:
        if not deployment.swapped:
            return
        if DirectorySwap(*deployment.swapped).put_back():
            deployment.say(f"{deployment.swapped[0]} is as it was before")
        deployment.set_installed(None)

    def finish(self, deployment: RunningDeployment, *, succeeded: bool) -> None:
        """Give up what was replaced: all went well."""
        if not succeeded or not deployment.swapped:
            return
        try:
            DirectorySwap(*deployment.swapped).clear()
        except OSError as error:
            deployment.warn(f"what was replaced cannot be removed: {error}; the next deployment tries again")


def _checked(deployment: RunningDeployment) -> Path:
    """The directory, as it is without links.

    Raises:
        StepFailed: it belongs to more than this step.
    """
    text = deployment.text("copy_to")
    if not Path(text).is_absolute() or ".." in Path(text).parts:
        raise StepFailed(f"copy_to must be an absolute path without '..', not {text!r}")
    directory = Path(os.path.realpath(text))
    named = text if str(directory) == text else f"{text} ({directory})"
    if len(directory.parts) < 3 or str(directory) in _OF_THE_SYSTEM:
        raise StepFailed(f"copy_to is a directory of the system: {named}; name one that is this step's alone")
    for what, path in _not_to_be_held(deployment).items():
        if directory == path or directory in path.parents:
            raise StepFailed(f"copy_to is or holds {what} ({path}): {named}; name one that is this step's alone")
    releases = Path(os.path.realpath(ApplicationFolder.of(deployment).releases))
    if releases in directory.parents:
        raise StepFailed(f"copy_to lies where releases lie: {named}; name another directory")
    if directory.parent == Path("/home"):
        raise StepFailed(f"copy_to is somebody's home: {named}; name a directory in it")
    return directory


def _not_to_be_held(deployment: RunningDeployment) -> Dict[str, Path]:
    paths = {
        "the home of this user": Path(os.path.expanduser("~")),  # noqa: PTH111  Path.home() fails where there is none
        "the home of the spoke": deployment.home,
        "the job's own folder": deployment.folder.path,
        "the folder of the releases": ApplicationFolder.of(deployment).releases,
    }
    return {what: Path(os.path.realpath(path)) for what, path in paths.items()}

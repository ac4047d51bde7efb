"""Point `current` at the release, at once: whoever opens it sees the old one or the new one, never neither."""

from __future__ import annotations

import os
from pathlib import Path

from runner.application_folder import ApplicationFolder
from runner.crash import crash_point
from runner.deployment import RunningDeployment
from runner.errors import StepFailed


class PointCurrent:
    name = "point current"

    def install(self, deployment: RunningDeployment) -> None:
        pointer = ApplicationFolder.of(deployment).pointer
        if os.path.lexists(pointer) and not pointer.is_symlink():
            raise StepFailed(
                f"{pointer} is no symbolic link; move it away, the runner never removes what it did not make"
            )
        deployment.previous_release = str(pointer.readlink()) if pointer.is_symlink() else ""
        _point(pointer, _target(deployment))
        deployment.say(f"{pointer} points to {deployment.release_folder.name}")

    def rollback(self, deployment: RunningDeployment) -> None:
        previous, pointer = deployment.previous_release, ApplicationFolder.of(deployment).pointer
        if previous is None or not pointer.is_symlink() or str(pointer.readlink()) != _target(deployment):
            return
        if previous:
            _point(pointer, previous)
            deployment.say(f"{pointer} points to {Path(previous).name} again")
        else:
            pointer.unlink()
            deployment.say(f"{pointer} is removed again: there was no release before")


def _target(deployment: RunningDeployment) -> str:
    return os.path.relpath(deployment.release_folder, ApplicationFolder.of(deployment).root)


def _point(pointer: Path, target: str) -> None:
    for left in pointer.parent.glob(f".current.{'[0-9a-f]' * 16}"):
        # By a job that was killed in this very moment; no other one works here now.
        left.unlink()
    part = pointer.with_name(f".current.{os.urandom(8).hex()}")
    part.symlink_to(target)
    crash_point("current.pointing")
    part.replace(pointer)

"""How one file would differ, told as previews tell of files: on the log as a unified diff, and as an event."""

from __future__ import annotations

from runner.deployment import RunningDeployment


def tell_difference(
    deployment: RunningDeployment, name: str, before: bytes | None, after: bytes | None, *, private: bool = False
) -> bool:
    """Tell what would change in a file; None stands for one that is not there. Returns whether anything would.

    Of a `private` one what goes away is not shown: it may hold a secret of former days.
    """
    from runner.file_changes import FileChanges  # late: most jobs are no previews

    return FileChanges(deployment).tell(name, before, after, private=private)

"""Show what would change in files of a package; all happens to copies in the job's own folder, and no script runs."""

from __future__ import annotations

from runner.deployment import RunningDeployment
from runner.pipeline import Convention


class PreviewFiles:
    """Does to copies of the package what these conventions do to the package, and tells the differences.

    What a secret has a part in is not shown.
    """

    name = "preview files"

    def __init__(self, *conventions: Convention) -> None:
        self._conventions = conventions

    def install(self, deployment: RunningDeployment) -> None:
        from runner.package_preview import preview  # late: most jobs are none

        preview(deployment, self._conventions)

    def rollback(self, deployment: RunningDeployment) -> None:
        """Nothing was changed but in the job's own folder, and that is gone."""

"""Take the folder in which releases of the package lie, alone until the end: no other job moves or removes one."""

from __future__ import annotations

from pathlib import Path

from runner.application_folder import ApplicationFolder, safe_name
from runner.contract.job import SWITCH
from runner.deployment import RunningDeployment
from runner.errors import StepFailed
from runner.folder_lock import FolderLock
from runner.step_digest import step_digest


class OpenApplicationFolder:
    name = "open application folder"

    def install(self, deployment: RunningDeployment) -> None:
        deployment.digest = step_digest(deployment)
        application = application_folder_of(deployment)
        if deployment.job.mode == SWITCH and not application.releases.is_dir():
            raise StepFailed(f"nothing is deployed in {application.root}, so there is nothing to go back to")
        application.make()
        deployment.root, deployment.releases = application.root, application.releases
        lock = FolderLock(application.root, deployment.home, deployment.job_file.cid)
        deployment.until_the_end.callback(lock.close)
        lock.wait(deployment.say)

    def rollback(self, deployment: RunningDeployment) -> None:
        """The folder stays for what comes next; the lock goes when the step is over."""


def application_folder_of(deployment: RunningDeployment) -> ApplicationFolder:
    """`<install_to>` with its `releases`, else `<home>/applications/[tenant/]environment/[target/]package`.

    Targets whose jobs run beside the hub share its machine, and a home there.
    """
    install_to = deployment.text("install_to")
    if install_to:
        root = Path(install_to)
        if not root.is_absolute() or ".." in root.parts:
            raise StepFailed(f"install_to must be an absolute path without '..', not {install_to!r}")
        return ApplicationFolder(root, root / "releases")
    job = deployment.job
    target = job.target.name if job.endpoint else ""
    parts = [part for part in (job.tenant, job.environment.name, target, deployment.package.id) if part]
    root = Path(deployment.home, "applications", *map(safe_name, parts))
    return ApplicationFolder(root, root)

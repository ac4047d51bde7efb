"""Extract the package to a fresh directory: a redeployment never overwrites what is there."""

from __future__ import annotations

from runner.application_folder import ApplicationFolder
from runner.contract.archives import Limits, safe_unpack
from runner.deployment import RunningDeployment
from runner.deployment_history import BEGUN, note


class ExtractPackage:
    """Into the application folder, under the package's version; with a number where that is taken."""

    name = "extract package"

    def install(self, deployment: RunningDeployment) -> None:
        package, application = deployment.package, ApplicationFolder.of(deployment)
        limits = Limits(total_bytes=deployment.job_file.limits.disk_bytes)
        made = application.place()
        found = safe_unpack(deployment.package_file, made, limits, extension=package.extension)
        deployment.package_files = tuple("/".join(e.parts) for e in found.entries if not e.is_directory)
        deployment.take_up(application.free_name(package.version), deployment.job_file.cid)
        # Before it is there: what a job that is ended by force has left can be told to be this step's.
        note(deployment, BEGUN)
        application.settle(made, deployment.release_folder, deployment.job_file.cid)
        count = len(deployment.package_files)
        deployment.say(f"extracted {package.id} {package.version} ({count} files) to {deployment.release}")

    def rollback(self, deployment: RunningDeployment) -> None:
        """What was extracted stays, so that a person can look at it; nothing points to it, and retention removes it."""

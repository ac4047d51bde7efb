"""Write how a deployment ended into the machine's journal, and how the installed files look, for later comparison."""

from __future__ import annotations

from runner.application_folder import ApplicationFolder
from runner.deployment import RunningDeployment
from runner.deployment_history import FAILED, SUCCEEDED, note
from runner.file_looks import write_looks


class RecordDeployment:
    def finish(self, deployment: RunningDeployment, *, succeeded: bool) -> None:
        if deployment.is_done or deployment.job.package is None:
            return
        try:
            if succeeded and deployment.package_files:
                look = ApplicationFolder.of(deployment).look(deployment.release_folder)
                write_looks(look, deployment.script_folder, deployment.package_files)
            note(deployment, SUCCEEDED if succeeded else FAILED)
        except OSError as error:
            deployment.warn(f"the journal cannot be written: {error}; this release cannot be gone back to")

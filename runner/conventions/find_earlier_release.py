"""Find, on this machine, the release that a deployment of the same package left: going back to it sends no byte."""

from __future__ import annotations

from pathlib import Path

from runner.application_folder import ApplicationFolder
from runner.deployment import RunningDeployment
from runner.deployment_history import history
from runner.errors import StepFailed


class FindEarlierRelease:
    name = "find the earlier release"

    def install(self, deployment: RunningDeployment) -> None:
        package, application = deployment.package, ApplicationFolder.of(deployment)
        # Two releases with the same package may differ in all that was filled in.
        mine = [e for e in history(deployment) if e["release"] == deployment.job.release.version]
        same = [e for e in mine if e["succeeded"] and e["sha256"] == package.sha256]
        there = [e for e in reversed(same) if e["made_by"] and application.maker(Path(e["path"])) == e["made_by"]]
        if not there:
            raise StepFailed(_sentence(deployment, was_here=bool(same)))
        deployment.take_up(Path(there[0]["path"]), there[0]["made_by"])
        # Its files hold the values of then, whatever these are now.
        deployment.digest = there[0]["variables"]
        if there[0]["asked_for_release"]:
            deployment.variables.note_release_was_asked_for()
        deployment.say(f"{package.id} {package.version} is still in {deployment.release}: going back to it")

    def rollback(self, deployment: RunningDeployment) -> None:
        """Nothing was changed."""


def _sentence(deployment: RunningDeployment, *, was_here: bool) -> str:
    package, job = deployment.package, deployment.job
    kept = int(deployment.properties["keep"])
    why = "is not on this machine any more" if was_here else "was never deployed to this machine by this step"
    limit = f" (retention keeps {kept} earlier releases)" if was_here and kept >= 0 else ""
    cure = f"manyarm deploy {job.project.name} --release {job.release.version} --to {job.environment.name}"
    return f"{package.id} {package.version} {why}{limit}; deploy it instead: {cure}"

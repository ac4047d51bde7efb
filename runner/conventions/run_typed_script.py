"""Run the script that was typed in the step, in the job's own empty folder."""

from __future__ import annotations

from runner.deployment import RunningDeployment
from runner.languages import find_language


class RunTypedScript:
    name = "run script"

    def install(self, deployment: RunningDeployment) -> None:
        text, strict = deployment.properties["script"], deployment.properties["strict"]
        language = find_language(deployment.properties["shell"])
        deployment.scripts.run_text("script", text, language, deployment.folder.work, strict=strict)

    def rollback(self, deployment: RunningDeployment) -> None:
        """What a script did, only a script can take back."""

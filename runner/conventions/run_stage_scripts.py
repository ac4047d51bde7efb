"""The scripts of a stage: the one typed in the step, and the one that the package brings (`PreDeploy.sh`, …)."""

from __future__ import annotations

from dataclasses import dataclass

from runner.deployment import RunningDeployment
from runner.languages import find_language
from runner.packaged_scripts import packaged_scripts


@dataclass(frozen=True)
class RunStageScripts:
    """Runs where the release is installed: in its own folder, or in the directory that it was copied to.

    Args:
        stage: `PreDeploy`, `Deploy`, `PostDeploy` or `DeployFailed`: the packaged file's name.
        setting: The property that holds the typed script.
        typed_first: Which of the two runs first.
    """

    stage: str
    setting: str
    typed_first: bool = False

    @property
    def name(self) -> str:
        return f"{self.stage} scripts"

    def install(self, deployment: RunningDeployment) -> None:
        runs = [self._run_packaged, self._run_typed]
        for run in reversed(runs) if self.typed_first else runs:
            run(deployment)

    def rollback(self, deployment: RunningDeployment) -> None:
        """What a script did, only a script can take back: DeployFailed is the place for it."""

    def _run_typed(self, deployment: RunningDeployment) -> None:
        text = deployment.properties[self.setting]
        if text and text.strip():
            language = find_language(deployment.properties["shell"])
            deployment.say(f"running the step's {self.stage} script")
            folder, strict = deployment.script_folder, deployment.properties["strict"]
            deployment.scripts.run_text(self.stage, text, language, folder, strict=strict)

    def _run_packaged(self, deployment: RunningDeployment) -> None:
        if deployment.release is None:
            return
        found = packaged_scripts(deployment.release, self.stage)
        if not found:
            return
        path, language = found[0]
        for other, _ in found[1:]:
            deployment.warn(f"{other.name} is not run: {path.name} is")
        deployment.say(f"running the package's {path.name}")
        folder, strict = deployment.script_folder, deployment.properties["strict"]
        deployment.scripts.run_file(self.stage, path, language, folder, strict=strict)

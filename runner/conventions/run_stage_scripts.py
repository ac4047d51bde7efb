"""The scripts of a stage: the one typed in the step, and the one that the package brings (`PreDeploy.sh`, …)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import List, Tuple

from runner.deployment import RunningDeployment
from runner.language import Language
from runner.languages import all_languages, find_language


@dataclass(frozen=True)
class RunStageScripts:
    """Runs in the extracted package's folder.

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
            deployment.scripts.run_text(self.stage, text, language, deployment.release or deployment.folder.work)

    def _run_packaged(self, deployment: RunningDeployment) -> None:
        if deployment.release is None:
            return
        found = self._packaged(deployment.release)
        if not found:
            return
        path, language = found[0]
        for other, _ in found[1:]:
            deployment.warn(f"{other.name} is not run: {path.name} is")
        deployment.say(f"running the package's {path.name}")
        deployment.scripts.run_file(self.stage, path, language, deployment.release)

    def _packaged(self, folder: Path) -> List[Tuple[Path, Language]]:
        """Files of this stage, bash before Python; symbolic links are not followed."""
        names = {path.name.casefold(): path for path in folder.iterdir() if path.is_file() and not path.is_symlink()}
        found: List[Tuple[Path, Language]] = []
        for language in all_languages():
            path = names.get(f"{self.stage}.{language.extension}".casefold())
            if path is not None:
                found.append((path, language))
        return found

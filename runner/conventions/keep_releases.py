"""Retention: after a deployment, remove what this step deployed before the current release and those kept beside it.

What is removed bears the mark of a job that the journal knows as this step's. What `current` points to stays, and so
does what was renamed, made by others, or deployed by another step to the same folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Tuple

from runner.application_folder import ApplicationFolder
from runner.contract.job import INSTALL
from runner.deployment import RunningDeployment
from runner.deployment_history import history


class KeepReleases:
    def finish(self, deployment: RunningDeployment, *, succeeded: bool) -> None:
        # Whoever goes back may want to go back further.
        if not succeeded or deployment.is_done or deployment.job.mode != INSTALL:
            return
        try:
            self._tidy(deployment)
        except OSError as error:
            deployment.warn(f"earlier releases cannot be looked through: {error}; the next deployment tries again")

    def _tidy(self, deployment: RunningDeployment) -> None:
        application = ApplicationFolder.of(deployment)
        removed: List[str] = []
        for release in _no_longer_kept(deployment):
            try:
                application.remove(release)
                removed.append(release.name)
            except (OSError, RecursionError) as error:
                deployment.warn(f"{release} cannot be removed: {error}; the next deployment tries again")
        for failure in application.clear():
            deployment.warn(f"what an earlier job left cannot be removed: {failure}; the next deployment tries again")
        if removed:
            deployment.say(f"removed {', '.join(removed)}: {deployment.properties['keep']} earlier releases are kept")


def _no_longer_kept(deployment: RunningDeployment) -> List[Path]:
    """Releases beyond the current one and `keep` earlier ones, and failed ones that are older than all of these."""
    keep = int(deployment.properties["keep"])
    if keep < 0:
        return []
    application = ApplicationFolder.of(deployment)
    there = {maker: release for release, maker in application.made_here()}
    seen, succeeded = _newest_places(deployment)
    kept = sorted((maker for maker in succeeded if maker in there), key=succeeded.__getitem__, reverse=True)[: keep + 1]
    oldest = min((succeeded[maker] for maker in kept), default=0)
    current = application.current()
    return [
        release
        for maker, release in there.items()
        if maker in seen and maker not in kept and release != current and (maker in succeeded or seen[maker] < oldest)
    ]


def _newest_places(deployment: RunningDeployment) -> Tuple[Dict[str, int], Dict[str, int]]:
    """By the job that made a release: where in this step's history it stands last, and where it last succeeded."""
    seen: Dict[str, int] = {}
    succeeded: Dict[str, int] = {}
    past = history(deployment)
    for number, entry in enumerate(past):
        seen[entry["made_by"]] = number
        if entry["succeeded"]:
            succeeded[entry["made_by"]] = number
    seen[deployment.made_by] = succeeded[deployment.made_by] = len(past)
    return seen, succeeded

"""Stop here, with success, where the very same is installed already: same bytes, same values, and nobody changed it."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from runner.application_folder import ApplicationFolder
from runner.deployment import RunningDeployment
from runner.deployment_history import history
from runner.file_looks import changed_file
from runner.journal import Entry


class SkipIfInstalled:
    name = "look for what is installed"

    def install(self, deployment: RunningDeployment) -> None:
        if not deployment.properties["skip_if_installed"]:
            return
        earlier = history(deployment)
        newest = earlier[-1] if earlier else None
        reason = _reason_to_deploy(deployment, newest)
        package = deployment.package
        if reason or newest is None:
            deployment.say_aside(f"{package.id} {package.version} is deployed: {reason}")
            return
        deployment.take_up(Path(newest["path"]), newest["made_by"])
        if newest["copied_to"]:
            deployment.set_installed(Path(newest["copied_to"]))
        deployment.is_done = True
        deployment.say(
            f"{package.id} {package.version} is installed already, with the same values, in "
            f"{deployment.script_folder}: nothing is done"
        )

    def rollback(self, deployment: RunningDeployment) -> None:
        """Nothing was changed."""


def _reason_to_deploy(deployment: RunningDeployment, newest: Optional[Entry]) -> str:
    """Why what is here does not do; empty where it does."""
    if newest is None:
        return f"this step has deployed nothing to {deployment.root} before"
    if not newest["succeeded"]:
        return f"the last deployment ({newest['version']}) did not succeed"
    if newest["sha256"] != deployment.package.sha256:
        return f"{newest['package']} {newest['version']} is installed, whose bytes are others"
    if newest["variables"] != deployment.digest:
        return "variables or properties of the step have changed since"
    if newest["asked_for_release"] and newest["release"] != deployment.job.release.version:
        return f"it was told the release's number, which was {newest['release']}"
    return _reason_on_disk(deployment, newest)


def _reason_on_disk(deployment: RunningDeployment, newest: Entry) -> str:
    application = ApplicationFolder.of(deployment)
    release = Path(newest["path"])
    if application.maker(release) != newest["made_by"]:
        return f"{release} is not there any more, or not as it was"
    if application.current() != release:
        return f"{application.pointer} points to something else"
    installed = Path(newest["copied_to"]) if newest["copied_to"] else release
    try:
        changed = changed_file(application.look(release), installed)
    except (OSError, ValueError):
        return "nobody wrote down how its files looked"
    return f"{installed / changed} was changed since" if changed is not None else ""

"""Restart the service where that is wanted, and stay until it is active and remains so."""

from __future__ import annotations

import time

from runner.contract.job import SWITCH
from runner.deployment import RunningDeployment
from runner.errors import StepFailed
from runner.service_change import ServiceChange, change_of, wait_until_active
from runner.system_access import NotEnded
from runner.systemd import StartFailed


class RestartService:
    name = "restart service"

    def install(self, deployment: RunningDeployment) -> None:
        change = change_of(deployment)
        verb = _verb(deployment, change)
        if not verb:
            deployment.say(f"{change.unit} runs as it should: nothing to do")
            return
        change.told_at = time.time()
        wait_s = deployment.properties["wait_s"]
        try:
            _tell(change, verb, wait_s)
            state = wait_until_active(change.manager, wait_s, deployment.properties["settle_s"])
        except StepFailed as error:
            _tell_why(deployment, change)
            raise StepFailed(f"{error} (its last lines in the journal stand above)") from error
        deployment.say(f"{change.unit} is {state.words}")

    def rollback(self, deployment: RunningDeployment) -> None:
        """What did not run before does not run after; what did is started once its files are back."""
        change = deployment.recall(ServiceChange)
        if change is None or not change.told_at or change.was_up:
            return
        change.manager.tell("stop", deployment.properties["wait_s"])
        if change.manager.state().has_failed:
            change.manager.tell("reset-failed")
        deployment.say(f"{change.unit} is stopped, as before")


def _verb(deployment: RunningDeployment, change: ServiceChange) -> str:
    """What systemctl is told; empty where the service runs with what stands on the disk."""
    way = deployment.properties["restart"]
    if not change.before.is_up:
        return "restart"
    is_newer = any(w.content is not None and w.path.stat().st_mtime > change.before.since for w in change.wanted)
    if change.files.is_changed or is_newer or deployment.job.mode == SWITCH or way == "always":
        return "restart" if way != "reload" or change.files.is_changed or is_newer else "reload-or-restart"
    return "reload-or-restart" if way == "reload" else ""


def _tell(change: ServiceChange, verb: str, wait_s: float) -> None:
    try:
        change.manager.tell(verb, wait_s)
    except StartFailed:
        # What came of it, and whether systemd tries again, its state says.
        return
    except NotEnded as error:
        words = change.manager.state().words
        raise StepFailed(f"{change.unit} did not become active within {wait_s:g} seconds: {words}") from error


def _tell_why(deployment: RunningDeployment, change: ServiceChange) -> None:
    for line in change.manager.journal(change.told_at):
        deployment.warn(f"{change.unit} | {line}")

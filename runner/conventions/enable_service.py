"""Have the service start with the machine."""

from __future__ import annotations

from runner.deployment import RunningDeployment
from runner.service_change import ServiceChange, change_of

_ENABLED = frozenset({"enabled", "enabled-runtime", "static", "indirect", "generated", "alias", "linked"})


class EnableService:
    name = "enable service"

    def install(self, deployment: RunningDeployment) -> None:
        change = change_of(deployment)
        if not deployment.properties["enable"]:
            return
        is_enabled = change.before["UnitFileState"] in _ENABLED
        if is_enabled and not change.files.is_changed:
            return
        change.is_enabled_by_us = not is_enabled
        change.manager.tell("enable")
        if change.is_enabled_by_us:
            deployment.say(f"{change.unit} starts with the machine from now on")

    def rollback(self, deployment: RunningDeployment) -> None:
        change = deployment.recall(ServiceChange)
        if change is not None and change.is_enabled_by_us:
            change.manager.tell("disable")
            deployment.say(f"{change.unit} does not start with the machine, as before")

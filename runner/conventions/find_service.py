"""Find systemd and the unit before anything changes; after a failure, with its files back, have it run as it did."""

from __future__ import annotations

from runner.deployment import RunningDeployment
from runner.errors import StepFailed
from runner.replaced_files import ReplacedFiles
from runner.service_change import ServiceChange, wait_until_active
from runner.service_unit import unit_name, wanted_files
from runner.system_access import SystemAccess
from runner.systemd import ServiceManager


class FindService:
    name = "find service"

    def install(self, deployment: RunningDeployment) -> None:
        of_user = deployment.properties["scope"] == "user"
        if of_user and deployment.properties["sudo"]:
            raise StepFailed("property sudo: a service of this user needs no root; expected false, or `scope: system`")
        access = SystemAccess(deployment, sudo=deployment.properties["sudo"])
        manager = ServiceManager(access, unit_name(deployment), of_user=of_user)
        before = manager.state()
        wanted = wanted_files(deployment, manager.unit)
        if before["LoadState"] == "masked":
            raise StepFailed(f"{manager.unit} is masked on this machine; `systemctl unmask {manager.unit}` undoes that")
        if not wanted and not before.is_known:
            raise StepFailed(
                f"there is no {manager.unit} on this machine: say what it is with `exec`, `unit` or `unit_file`"
            )
        deployment.keep(ServiceChange(manager, ReplacedFiles(access), wanted, before))

    def rollback(self, deployment: RunningDeployment) -> None:
        """Done last: the files are back by now."""
        change = deployment.recall(ServiceChange)
        if change is None or not change.told_at:
            return
        if not change.was_up:
            return
        change.manager.tell("restart", deployment.properties["wait_s"])
        state = wait_until_active(change.manager, deployment.properties["wait_s"], 0)
        deployment.say(f"{change.unit} runs again as before: {state.words}")

"""Show what a systemd-service step would change; nothing is written, and systemd need not run."""

from __future__ import annotations

from runner.deployment import RunningDeployment
from runner.file_difference import tell_difference
from runner.replaced_files import is_private
from runner.service_unit import unit_name, wanted_files
from runner.system_access import SystemAccess


class PreviewService:
    name = "preview service"

    def install(self, deployment: RunningDeployment) -> None:
        access = SystemAccess(deployment, sudo=deployment.properties["sudo"])
        unit = unit_name(deployment)
        changes = [
            tell_difference(
                deployment, str(wanted.path), access.read(wanted.path), wanted.content, private=is_private(wanted)
            )
            for wanted in wanted_files(deployment, unit)
        ]
        if not any(changes):
            deployment.say(f"the unit of {unit} would not change")
        way = deployment.properties["restart"]
        if any(changes) or way == "always":
            deployment.say(f"{unit} would be restarted")
        elif way == "reload":
            deployment.say(f"{unit} would be told to reload")

    def rollback(self, deployment: RunningDeployment) -> None:
        """Nothing was changed."""

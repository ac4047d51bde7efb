"""Find docker or podman before anything changes, and finish what an earlier run left half done."""

from __future__ import annotations

from runner.container_change import ContainerChange, put_back
from runner.container_engine import ContainerEngine
from runner.container_specification import container_name
from runner.deployment import RunningDeployment
from runner.system_access import SystemAccess


class FindContainerEngine:
    name = "find container engine"

    def install(self, deployment: RunningDeployment) -> None:
        engine = ContainerEngine(SystemAccess(deployment), deployment.properties["engine"])
        change = ContainerChange(engine, container_name(deployment))
        if put_back(deployment, change, deployment.properties["stop_s"]):
            deployment.warn(f"an earlier run was cut short amid its change of {change.name}: that was taken back first")
        deployment.keep(change)

    def rollback(self, deployment: RunningDeployment) -> None:
        """Nothing was changed but what an earlier run had left."""

"""Put the new container in the old one's place; the old one waits, stopped, until the new one is known to work."""

from __future__ import annotations

import json

from runner.container_change import (
    ContainerChange,
    change_of,
    create,
    labels_of,
    put_back,
    start,
    stop,
    wait_until_healthy,
)
from runner.container_engine import Container
from runner.container_specification import DIGEST_LABEL, Specification, specification_of
from runner.deployment import RunningDeployment
from runner.errors import StepFailed

_TAKEN = ("address already in use", "port is already allocated")


class ReplaceContainer:
    name = "replace container"

    def install(self, deployment: RunningDeployment) -> None:
        change = change_of(deployment)
        specification = specification_of(deployment, change.image)
        _check_command_line(deployment, specification)
        digest = specification.digest(change.image_id)
        old = change.engine.container(change.name)
        if old is not None and DIGEST_LABEL not in old.labels:
            raise StepFailed(
                f"a container {change.name} is there that no step of this kind made; remove or rename it: the runner "
                "never takes the place of what it did not make"
            )
        if old is not None and old.labels[DIGEST_LABEL] == digest and old.is_running and old.health in ("", "healthy"):
            deployment.say(f"the container {change.name} is unchanged and runs: nothing to do")
            return
        change.may_have_changed = True
        change.former_image = "" if old is None else str((old.said.get("Config") or {}).get("Image"))
        shown = json.dumps(specification.shown(), sort_keys=True)
        create(change, specification, labels_of(deployment, digest, shown))
        if old is not None:
            self._set_aside(deployment, change, old)
        self._start(deployment, change)
        if old is not None:
            change.engine.must("rm", "--force", str(old.said["Id"]))

    def rollback(self, deployment: RunningDeployment) -> None:
        change = deployment.recall(ContainerChange)
        if change is None or not change.may_have_changed:
            return
        put_back(deployment, change, deployment.properties["stop_s"])
        deployment.say(f"the new container of {change.name} is removed")

    def _set_aside(self, deployment: RunningDeployment, change: ContainerChange, old: Container) -> None:
        """Renamed while it runs: its name then tells, whatever happens next, that it should run again."""
        if not old.is_running and not old.state.get("Restarting"):
            change.engine.must("rename", change.name, change.idle_name)
            return
        change.engine.must("rename", change.name, change.old_name)
        stop(change.engine, change.old_name, deployment.properties["stop_s"])
        deployment.say(f"stopped the old container {change.name}")

    def _start(self, deployment: RunningDeployment, change: ContainerChange) -> None:
        engine = change.engine
        engine.must("rename", change.new_name, change.name)
        try:
            start(deployment, engine, change.name)
        except StepFailed as error:
            taken = any(sign in str(error) for sign in _TAKEN)
            why = "a port of it is in use by another program on this machine: " if taken else ""
            raise StepFailed(f"the container {change.name} cannot be started: {why}{error}") from error
        wait_s, settle_s = deployment.properties["wait_s"], deployment.properties["settle_s"]
        try:
            found = wait_until_healthy(engine, change.name, wait_s, settle_s)
        except StepFailed as error:
            for line in engine.logs(change.name):
                deployment.warn(f"{change.name} | {line}")
            raise StepFailed(f"{error} (what it printed last stands above)") from error
        deployment.say(f"the container {change.name} is {found.words}")


def _check_command_line(deployment: RunningDeployment, specification: Specification) -> None:
    for word in specification.arguments(specification.name, {}, ""):
        if deployment.variables.holds_secret(word):
            raise StepFailed(
                "a secret would stand on the command line of the container engine, which everybody can read: only "
                "`environment` takes secrets"
            )

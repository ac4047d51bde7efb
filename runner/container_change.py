"""One change of a container: the new one beside the old one, and the way back."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Dict

from runner.container_engine import Container, ContainerEngine
from runner.container_specification import DIGEST_LABEL, SPECIFICATION_LABEL, Specification
from runner.deployment import RunningDeployment
from runner.errors import StepFailed

_LOOK_EVERY_S = 0.2
# A container that ended and was started anew this often is in a loop, whatever time is left.
_LOOP_RESTARTS = 3


@dataclass
class ContainerChange:
    """What the conventions of a docker-container step share.

    Args:
        image: The image's name, once it is on this machine, and `image_id` what it stands for.
        new_id: The container that this run made.
        former_image: What the container that was there ran.
        may_have_changed: Something was done to the container of this name, so that a failure must put it back.
    """

    engine: ContainerEngine
    name: str
    image: str = ""
    image_id: str = ""
    new_id: str = ""
    former_image: str = ""
    may_have_changed: bool = False

    @property
    def new_name(self) -> str:
        """The new container's while it is made, beside the old one."""
        return f"{self.name}.next"

    @property
    def old_name(self) -> str:
        """The old one's until the new one is known to work."""
        return f"{self.name}.before"

    @property
    def idle_name(self) -> str:
        """The same for an old one that did not run, and should not after a failure."""
        return f"{self.name}.idle"


def change_of(deployment: RunningDeployment) -> ContainerChange:
    found = deployment.recall(ContainerChange)
    if found is None:
        raise StepFailed("no container engine was looked for yet")
    return found


def create(change: ContainerChange, specification: Specification, labels: Dict[str, str]) -> None:
    """Make the new container, not started; its environment goes by a file that exists in memory alone."""
    descriptor = os.memfd_create("environment", 0)
    try:
        os.write(descriptor, specification.environment_lines())
        os.lseek(descriptor, 0, os.SEEK_SET)
        file = f"/proc/self/fd/{descriptor}"
        arguments = specification.arguments(change.new_name, labels, file)
        change.new_id = change.engine.must("create", *arguments, pass_fds=(descriptor,)).split()[-1]
    finally:
        os.close(descriptor)


def put_back(deployment: RunningDeployment, change: ContainerChange, stop_s: int) -> bool:
    """Have the container as it was before an unfinished change, however far that came; True where anything was done.

    An old container under its second name is the sign that the one under the first is not known to work.
    """
    engine = change.engine
    names = engine.names()
    seconds = [name for name in (change.old_name, change.idle_name) if name in names]
    if change.name in names and (seconds or _is_new(change)):
        _end(engine, change.name, stop_s)
    for second_name in seconds:
        engine.must("rename", second_name, change.name)
        if second_name == change.old_name:
            start(deployment, engine, change.name)
            deployment.say(f"the container {change.name} runs again as before")
    if change.new_name in names:
        engine.must("rm", "--force", change.new_name)
    return bool(seconds) or change.new_name in names


def start(deployment: RunningDeployment, engine: ContainerEngine, name: str) -> None:
    """Start a container, which is the machine's from then on: to end the job does not end it."""
    engine.must("start", name)
    found = engine.container(name)
    if found is not None and found.keeper:
        deployment.channel.spare(found.keeper)


def stop(engine: ContainerEngine, name: str, stop_s: int) -> None:
    engine.must("stop", "-t", str(stop_s), name, timeout_s=stop_s + 60)


def _is_new(change: ContainerChange) -> bool:
    """Whether this run made the container that bears the name: the first one there is."""
    found = change.engine.container(change.name)
    return found is not None and bool(change.new_id) and found.said.get("Id") == change.new_id


def _end(engine: ContainerEngine, name: str, stop_s: int) -> None:
    found = engine.container(name)
    if found is not None and found.state.get("Running"):
        stop(engine, name, stop_s)
    engine.must("rm", "--force", name)


def labels_of(deployment: RunningDeployment, digest: str, shown: str) -> Dict[str, str]:
    job = deployment.job
    return {
        DIGEST_LABEL: digest,
        SPECIFICATION_LABEL: shown,
        "manyarm.project": job.project.name,
        "manyarm.release": job.release.version,
        "manyarm.environment": job.environment.name,
        "manyarm.step": job.step.name,
    }


def wait_until_healthy(engine: ContainerEngine, name: str, wait_s: float, settle_s: float) -> Container:
    """Wait until a container runs, has for a while, and is healthy by its own check, if it has one.

    Raises:
        StepFailed: it ended, kept restarting, is unhealthy, or did not get there in time.
    """
    deadline = time.monotonic() + wait_s + settle_s
    life, steady_since = "", 0.0
    while True:
        found = engine.container(name)
        now = time.monotonic()
        if found is None:
            raise StepFailed(f"the container {name} is gone")
        if found.restarts >= _LOOP_RESTARTS:
            raise StepFailed(f"the container {name} ends and is started anew again and again: {found.words}")
        if found.health == "unhealthy" or (found.has_ended and not _comes_again(found)):
            raise StepFailed(f"the container {name} is {found.words}")
        if not found.is_running:
            life = ""
        elif found.life != life:
            life, steady_since = found.life, now
        elif now - steady_since >= settle_s and found.health in ("", "healthy"):
            return found
        if now > deadline:
            raise StepFailed(f"the container {name} is not well after {wait_s:g} seconds: {found.words}")
        if found.is_running and found.health == "starting":
            engine.look_after_health(name)
        time.sleep(_LOOK_EVERY_S)


def _comes_again(found: Container) -> bool:
    """Whether the engine starts it anew by itself."""
    policy = ((found.said.get("HostConfig") or {}).get("RestartPolicy") or {}).get("Name") or "no"
    return policy in ("always", "unless-stopped") or (policy == "on-failure" and found.state.get("ExitCode") != 0)

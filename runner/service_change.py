"""One change of a systemd service: how it stood before, and the way back there."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Tuple

from runner.deployment import RunningDeployment
from runner.errors import StepFailed
from runner.replaced_files import ReplacedFiles, WantedFile
from runner.systemd import ServiceManager, UnitState

_LOOK_EVERY_S = 0.1
# A service that ended and was started anew this often is in a loop, whatever time is left.
_LOOP_RESTARTS = 3


@dataclass
class ServiceChange:
    """What the conventions of a systemd-service step share.

    Args:
        before: How the unit stood before anything changed.
        told_at: When it was told to restart, in seconds of the wall clock; 0.0 before that.
        is_enabled_by_us: It was not enabled before.
    """

    manager: ServiceManager
    files: ReplacedFiles
    wanted: Tuple[WantedFile, ...]
    before: UnitState
    told_at: float = 0.0
    is_enabled_by_us: bool = False

    @property
    def unit(self) -> str:
        return self.manager.unit

    @property
    def was_up(self) -> bool:
        return self.before["ActiveState"] in ("active", "reloading", "activating")


def change_of(deployment: RunningDeployment) -> ServiceChange:
    found = deployment.recall(ServiceChange)
    if found is None:
        raise StepFailed("the service was not looked at yet")
    return found


def wait_until_active(manager: ServiceManager, wait_s: float, settle_s: float) -> UnitState:
    """Wait until the unit is active, and has been for a while by one and the same process.

    Raises:
        StepFailed: it failed, kept restarting, or did not become active in time.
    """
    deadline = time.monotonic() + wait_s + settle_s
    first_restarts: int | None = None
    life, steady_since, ended = "", 0.0, ""
    while True:
        state = manager.state()
        now = time.monotonic()
        # Between two starts systemd forgets how the first one ended.
        ended = state.end or ended
        first_restarts = state.restarts if first_restarts is None else min(first_restarts, state.restarts)
        if state.has_run_once:
            return state
        if state.has_failed:
            raise StepFailed(f"{manager.unit} is not active: {state.words}")
        if state.restarts - first_restarts >= _LOOP_RESTARTS:
            raise StepFailed(f"{manager.unit} ends and is started anew again and again{ended}")
        if not state.is_up:
            life = ""
        elif state.life != life:
            life, steady_since = state.life, now
        elif now - steady_since >= settle_s:
            return state
        if now > deadline:
            still = "does not stay active" if state.is_up else "did not become active"
            raise StepFailed(f"{manager.unit} {still} within {wait_s:g} seconds: {state.words}")
        time.sleep(_LOOK_EVERY_S)

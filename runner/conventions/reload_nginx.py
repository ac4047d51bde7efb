"""Have the running nginx take the new configuration, and see that it did: only then it starts new workers."""

from __future__ import annotations

from contextlib import suppress

from runner.deployment import RunningDeployment
from runner.errors import StepFailed
from runner.nginx import Configuration, started_at
from runner.nginx_site import SiteChange, change_of


class ReloadNginx:
    name = "reload nginx"

    def install(self, deployment: RunningDeployment) -> None:
        change = change_of(deployment)
        now = change.now
        if now is None:
            raise StepFailed("nginx's configuration was not tried yet")
        before = change.nginx.workers(now)
        if not change.files.is_changed and not _is_newer(change, before):
            deployment.say("nginx runs with it: nothing to do")
            return
        log_size = _size(now)
        change.is_told = True
        change.nginx.reload()
        wait_s = deployment.properties["wait_s"]
        if not change.nginx.wait_for_others(now, before, wait_s):
            lines = change.nginx.log_since(now.error_log, log_size)
            for line in lines:
                deployment.warn(f"nginx | {line}")
            why = [line for line in lines if "[emerg]" in line]
            words = f": {why[0]}" if why else f", {now.error_log or 'its log'} may say why"
            raise StepFailed(f"nginx did not take its new configuration within {wait_s:g} seconds{words}")
        deployment.say("nginx took its new configuration: new workers answer")

    def rollback(self, deployment: RunningDeployment) -> None:
        """What nginx is told then stands in `find nginx`, done once the files are back."""


def _is_newer(change: SiteChange, workers: frozenset[int]) -> bool:
    """Whether a file was written after the workers began: a run was cut short between writing and reloading."""
    newest = 0.0
    for wanted in change.wanted:
        with suppress(OSError):
            newest = max(newest, wanted.path.lstat().st_mtime)
    return not workers or newest > min(map(started_at, workers))


def _size(now: Configuration) -> int:
    with suppress(OSError):
        return now.error_log.stat().st_size if now.error_log else 0
    return 0

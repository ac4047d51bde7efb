"""Write the site and try nginx's whole configuration with it, while the running nginx goes on with the old one."""

from __future__ import annotations

import os

from runner.deployment import RunningDeployment
from runner.errors import StepFailed
from runner.nginx_site import SiteChange, change_of, site_file


class WriteSite:
    name = "write site"

    def install(self, deployment: RunningDeployment) -> None:
        change = change_of(deployment)
        for wanted in change.wanted:
            if change.files.make(wanted):
                deployment.say(f"{'wrote' if wanted.content is not None else 'removed'} {wanted.path}")
        change.now, fault = change.nginx.configuration()
        if change.now is None:
            raise StepFailed(
                f"nginx refuses its configuration with this site: {fault}{self._without(deployment, change)}"
            )
        path = site_file(change.wanted)
        real = {os.path.realpath(file) for file in change.now.files}
        if not deployment.properties["remove"] and os.path.realpath(path) not in real:
            raise StepFailed(f"nginx does not read {path}: no `include` of its configuration names it")
        deployment.say("nginx accepts its configuration" if change.files.is_changed else "the site is unchanged")

    def rollback(self, deployment: RunningDeployment) -> None:
        change = deployment.recall(SiteChange)
        if change is not None:
            _put_back(deployment, change)

    def _without(self, deployment: RunningDeployment, change: SiteChange) -> str:
        """Whether the fault was there before; the files go back for that, as they do anyway."""
        if not change.files.is_changed:
            return " (it is unchanged: the fault came from elsewhere)"
        _put_back(deployment, change)
        configuration, _ = change.nginx.configuration()
        return "" if configuration is not None else " (without it too: the fault was there before)"


def _put_back(deployment: RunningDeployment, change: SiteChange) -> None:
    for path in change.files.put_back():
        deployment.say(f"{path} is as it was before")

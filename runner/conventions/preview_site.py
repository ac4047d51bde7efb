"""Show how a site's file would change; nothing is written, and nginx need not be there."""

from __future__ import annotations

from runner.deployment import RunningDeployment
from runner.file_difference import tell_difference
from runner.nginx_site import wanted_files
from runner.replaced_files import is_private
from runner.system_access import SystemAccess


class PreviewSite:
    name = "preview site"

    def install(self, deployment: RunningDeployment) -> None:
        access = SystemAccess(deployment, sudo=deployment.properties["sudo"])
        changes = 0
        for wanted in wanted_files(deployment):
            if wanted.is_link:
                before = str(wanted.path.readlink()).encode() if wanted.path.is_symlink() else None
            else:
                before = access.read(wanted.path)
            private = not wanted.is_link and is_private(wanted)
            changes += tell_difference(deployment, str(wanted.path), before, wanted.content, private=private)
        deployment.say("nginx would be tried with it and reloaded" if changes else "the site would not change")

    def rollback(self, deployment: RunningDeployment) -> None:
        """Nothing was changed."""

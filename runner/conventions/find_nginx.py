"""Find nginx before anything changes; after a failure, once the files are back, have it read them again."""

from __future__ import annotations

from runner.deployment import RunningDeployment
from runner.nginx import Nginx
from runner.nginx_site import SiteChange, wanted_files
from runner.replaced_files import ReplacedFiles
from runner.system_access import SystemAccess


class FindNginx:
    name = "find nginx"

    def install(self, deployment: RunningDeployment) -> None:
        access = SystemAccess(deployment, sudo=deployment.properties["sudo"])
        nginx = Nginx(deployment, access)
        deployment.keep(SiteChange(nginx, ReplacedFiles(access), wanted_files(deployment)))

    def rollback(self, deployment: RunningDeployment) -> None:
        """Done last: the files are back by now."""
        change = deployment.recall(SiteChange)
        if change is None or not change.is_told:
            return
        change.nginx.reload()
        deployment.say("nginx was told to reload what it had before")

"""nginx-site: this list is what it does, in this order; a failure takes it back from the last to the first."""

from __future__ import annotations

from runner.contract.step_kind import Property, StepKind
from runner.conventions.find_nginx import FindNginx
from runner.conventions.preview_site import PreviewSite
from runner.conventions.reload_nginx import ReloadNginx
from runner.conventions.write_site import WriteSite
from runner.pipeline import Step

_CONVENTIONS = (FindNginx(), WriteSite(), ReloadNginx())

STEP = Step(
    kind=StepKind(
        name="nginx-site",
        title="Put a site on nginx",
        description="Writes a site, tries nginx's whole configuration, reloads it; a failure brings back the old site.",
        needs_package=False,
        properties=(
            Property("site", "text", help="The site's name, which is its file's.", required=True),
            Property("config", "script", help="What stands in its file: `server { … }`; `#{…}` is filled in."),
            Property(
                "config_file",
                "text",
                help="Or the absolute path of a file that holds it, such as `/srv/web/current/nginx.conf`.",
            ),
            Property("remove", "boolean", help="Take the site away instead.", default=False),
            Property(
                "directory",
                "text",
                help="Where its file lies; without it sites-available with a link in sites-enabled, or conf.d.",
            ),
            Property("nginx_config", "text", help="nginx's main configuration, where it is not its own."),
            Property("prefix", "text", help="The directory that relative paths begin from, where it is not its own."),
            Property("nginx", "text", help="The program, where it is not `nginx` on the path."),
            Property(
                "reload_with",
                "choice",
                help="Who tells it to reload: `nginx -s reload`, or `systemctl reload nginx`.",
                default="nginx",
                choices=("nginx", "systemctl"),
            ),
            Property(
                "wait_s", "integer", help="Seconds in which new workers must come.", default=15, least=1, most=600
            ),
            Property("sudo", "boolean", help="Become root by `sudo -n` where the spoke is not.", default=False),
        ),
    ),
    conventions=_CONVENTIONS,
    switch=_CONVENTIONS,
    preview=(PreviewSite(),),
)

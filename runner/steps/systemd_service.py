"""systemd-service: this list is what it does, in this order; a failure takes it back from the last to the first."""

from __future__ import annotations

from runner.contract.step_kind import Property, StepKind
from runner.conventions.enable_service import EnableService
from runner.conventions.find_service import FindService
from runner.conventions.preview_service import PreviewService
from runner.conventions.restart_service import RestartService
from runner.conventions.write_unit import WriteUnit
from runner.pipeline import Step

_CONVENTIONS = (FindService(), WriteUnit(), EnableService(), RestartService())

STEP = Step(
    kind=StepKind(
        name="systemd-service",
        title="Run a systemd service",
        description="Writes a unit, restarts it, waits until it stays active; a failure brings back the old one.",
        needs_package=False,
        properties=(
            Property("service", "text", help="The unit's name: `web` is `web.service`.", required=True),
            Property("exec", "text", help="The command of a unit built from these properties: `/srv/web/current/run`."),
            Property("unit", "script", help="A whole unit instead, typed; `#{…}` is filled in."),
            Property(
                "unit_file",
                "text",
                help="Or the absolute path of a unit's file: `/srv/web/current/web.service`; `#{…}` is filled in. "
                "Without any of the three the unit is the one that the machine has.",
            ),
            Property("description", "text", help="What `systemctl status` calls it."),
            Property("user", "text", help="Whom the command runs as; without it, root (or this user)."),
            Property("group", "text", help="The group it runs as."),
            Property("working_directory", "text", help="Where it runs, such as `/srv/web/current`."),
            Property(
                "environment",
                "list",
                help="`NAME=VALUE` lines; they lie in a private file beside the unit, so that secrets may stand here.",
                default=[],
            ),
            Property(
                "type",
                "choice",
                help="When systemd takes it for started.",
                default="exec",
                choices=("simple", "exec", "notify", "forking", "oneshot"),
            ),
            Property(
                "restart_on",
                "choice",
                help="When systemd starts it anew by itself.",
                default="on-failure",
                choices=("no", "on-failure", "on-abnormal", "always"),
            ),
            Property("options", "list", help="Further lines of [Service]: `LimitNOFILE=65536`.", default=[]),
            Property("wanted_by", "text", help="What it starts with; multi-user.target without it."),
            Property("enable", "boolean", help="Have it start with the machine.", default=True),
            Property(
                "restart",
                "choice",
                help="`always`; `when-changed` restarts only for another unit or a service that is down; `reload` "
                "reloads a unit that did not change.",
                default="always",
                choices=("always", "when-changed", "reload"),
            ),
            Property("wait_s", "integer", help="Seconds in which it must be active.", default=60, least=1, most=3600),
            Property("settle_s", "integer", help="Seconds it must then stay so.", default=3, least=0, most=600),
            Property(
                "scope",
                "choice",
                help="The machine's systemd, or that of the spoke's user.",
                default="system",
                choices=("system", "user"),
            ),
            Property("sudo", "boolean", help="Become root by `sudo -n` where the spoke is not.", default=False),
            Property("unit_directory", "text", help="Where the unit is written; systemd's own directory without it."),
        ),
    ),
    conventions=_CONVENTIONS,
    switch=_CONVENTIONS,
    preview=(PreviewService(),),
)

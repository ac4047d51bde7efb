"""The command `manyarm`: server commands beside the hub, client commands over its API, each loaded when typed."""

import importlib
import sys
from pathlib import Path

import click

# name: module, and what `manyarm --help` says of it before the module is loaded.
COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("hub.cli.server.init", "Make a home: keys, database, first administrator."),
    "up": ("hub.cli.server.up", "Run everything on this machine."),
    "hub": ("hub.cli.server.parts", "Run the engine alone."),
    "portal": ("hub.cli.server.parts", "Run pages and API alone."),
    "gateway": ("hub.cli.server.parts", "Run the door for spokes alone."),
    "doctor": ("hub.cli.server.doctor", "Say what is wrong and what to do."),
    "key": ("hub.cli.server.key", "Show, issue, export and check keys."),
    "backup": ("hub.cli.server.backup", "Keep the hub in one file, and put it back."),
    "audit": ("hub.cli.server.audit", "Verify the audit chain."),
    "user": ("hub.cli.server.user", "Add and disable users beside the database."),
    "login": ("hub.cli.client.login", "Save the address of a hub and an API key."),
    "apply": ("hub.cli.client.apply", "Make the hub match a file."),
    "export": ("hub.cli.client.export", "Write a project as a file."),
    "package": ("hub.cli.client.package", "Push, list and delete packages."),
    "release": ("hub.cli.client.release", "Create and list releases."),
    "deploy": ("hub.cli.client.deploy", "Deploy a release to an environment."),
    "rollback": ("hub.cli.client.rollback", "Go back to a release that was there before."),
    "run": ("hub.cli.client.run", "Run one script on many machines."),
    "task": ("hub.cli.client.task", "List, follow and cancel tasks."),
    "queue": ("hub.cli.client.queue", "List what waits and why; pause, resume, change the order."),
    "target": ("hub.cli.client.target", "List, add, enable and disable targets."),
    "machine-policy": ("hub.cli.client.machine_policy", "List, show and delete machine policies."),
    "account": ("hub.cli.client.account", "List and delete logins and cloud credentials."),
    "spoke": ("hub.cli.client.spoke", "List, approve and revoke spokes."),
    "join-code": ("hub.cli.client.join_code", "Make a code with which a spoke enrols."),
    "integration": ("hub.cli.client.integration", "Let programs hear events and send commands over AMQP."),
    "variable": ("hub.cli.client.variable", "Explain which value of a variable wins."),
}


class Catalogue(click.Group):
    """Knows the commands by name and loads one when it is asked for: `--help` needs none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's own signature.
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command = getattr(module, cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in COMMANDS.items()])


@click.group(cls=Catalogue, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--home", type=click.Path(path_type=Path), help="Server commands: the hub's home (MANYARM_HOME).")
@click.option("--url", help="Client commands: the hub's address (MANYARM_URL).")
@click.version_option(package_name="manyarm")
@click.pass_context
def manyarm(ctx: click.Context, home: Path | None, url: str | None) -> None:
    """Deploy what you built to the machines you have.

    Exit status: 0 done, 1 the task failed, 2 usage, 3 not allowed, 4 not found, 5 hub not reachable, 6 timed out,
    130 interrupted (the task goes on).
    """
    ctx.obj = {"home": home, "url": url}


def main() -> None:
    try:
        manyarm.main(prog_name="manyarm", standalone_mode=True)
    except BrokenPipeError:
        # `manyarm task list | head` has read enough.
        sys.stderr.close()
        sys.exit(0)


if __name__ == "__main__":
    main()

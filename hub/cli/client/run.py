"""`manyarm run`: one script on many machines, its output in front of the name of each."""

import shlex
import sys
from pathlib import Path

import click

from hub.cli.client import following
from hub.cli.client.hub_api import HubApi, api
from hub.cli.client.standing import standing, with_standing
from hub.cli.ending import CommandFailed, Status


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--to", "where", multiple=True, required=True, metavar="TARGET|ROLE|ENV", help="May be given often.")
@click.option(
    "--shell", default="bash", metavar="LANGUAGE", help="bash unless said; a wrong one is answered by the list."
)
@click.option("--no-strict", is_flag=True, help="Go on after a command that fails.")
@click.option("--file", "file", type=click.Path(path_type=Path), help="The script; - for standard input.")
@click.option("--timeout", "timeout_s", type=int, help="Seconds that the script may take.")
@with_standing
@click.option("--detach", is_flag=True, help="Print the task and leave.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def run(
    ctx: click.Context,
    where: tuple[str, ...],
    shell: str,
    no_strict: bool,
    file: Path | None,
    timeout_s: int | None,
    priority: str | None,
    parent: str | None,
    detach: bool,
    command: tuple[str, ...],
) -> None:
    """Run COMMAND (after --) or a script file on targets, on all with a role, or on a whole environment."""
    hub = api(ctx.obj["url"])
    body: dict[str, object] = {
        "script": _script(file, command),
        "shell": shell,
        **_reach(hub, where),
        **standing(priority, parent),
    }
    if no_strict:
        body["strict"] = False
    if timeout_s:
        body["timeout_s"] = timeout_s
    task = hub.post("/runs", body)["task"]
    if detach:
        click.echo(task)
        return
    following.end_with(following.follow(hub, task))


def _script(file: Path | None, command: tuple[str, ...]) -> str:
    if (file is None) == (not command):
        raise CommandFailed("what shall run? Give either --file FILE or -- COMMAND", Status.USAGE)
    if file is None:
        return command[0] if len(command) == 1 else shlex.join(command)
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"{file}: cannot be read ({error})", Status.USAGE) from error


def _reach(hub: HubApi, where: tuple[str, ...]) -> dict[str, list[str]]:
    """A word is a target's name, else an environment's, else a role."""
    targets = list(hub.items("/targets"))
    names = {target["name"] for target in targets} | {target["id"] for target in targets}
    environments = {name for target in targets for name in target["environments"]}
    roles = {role for target in targets for role in target["roles"]}
    found: dict[str, list[str]] = {}
    for word in where:
        kind = "targets" if word in names else "environments" if word in environments else "roles"
        if kind == "roles" and word not in roles:
            known = ", ".join(sorted(names | environments | roles)) or "none: enrol a spoke first"
            raise CommandFailed(f"{word!r} is no target, environment or role; known are {known}", Status.NOT_FOUND)
        found.setdefault(kind, []).append(word)
    return found

"""`manyarm deploy`: shows what a deployment would do, or does it, and follows it."""

import click

from hub.cli.client import following, printing
from hub.cli.client.hub_api import api
from hub.cli.client.plans import show_plan
from hub.cli.client.preview import show_preview
from hub.cli.client.standing import standing, with_standing
from hub.cli.ending import CommandFailed, Status


@click.command()
@click.argument("project")
@click.option("--release", required=True, help="The version to deploy.")
@click.option("--to", "environment", required=True, help="The environment.")
@click.option("--plan", "plan_only", is_flag=True, help="Show every target, step, package and variable; move nothing.")
@click.option("--files", is_flag=True, help="With --plan: have every target say what would change in its files.")
@click.option("--watch", is_flag=True, help="Follow the log and end as the task ends.")
@click.option("--var", "variables", multiple=True, metavar="NAME=VALUE")
@click.option("--only", multiple=True, metavar="TARGET")
@click.option("--skip", multiple=True, metavar="STEP")
@with_standing
@click.option("--timeout", "timeout_s", type=float, help="Seconds to watch at the most.")
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
def deploy(
    ctx: click.Context,
    project: str,
    release: str,
    environment: str,
    plan_only: bool,
    files: bool,
    watch: bool,
    variables: tuple[str, ...],
    only: tuple[str, ...],
    skip: tuple[str, ...],
    priority: str | None,
    parent: str | None,
    timeout_s: float | None,
    as_json: bool,
) -> None:
    """Deploy a release of PROJECT to an environment."""
    body: dict[str, object] = {"project": project, "release": release, "environment": environment}
    body |= {"variables": dict(_pair(text) for text in variables)} if variables else {}
    body |= {"only_targets": list(only)} if only else {}
    body |= {"skip_steps": list(skip)} if skip else {}
    body |= standing(priority, parent)
    if files and not plan_only:
        raise CommandFailed("--files goes with --plan: it shows what would change and changes nothing", Status.USAGE)
    hub = api(ctx.obj["url"])
    if files:
        show_preview(hub, body, timeout_s=timeout_s, as_json=as_json)
        return
    body |= {"plan_only": True} if plan_only else {}
    made = hub.post("/deployments", body)
    if plan_only:
        printing.as_json(made) if as_json else show_plan(made["plan"])
        return
    if not watch:
        printing.as_json(made) if as_json else click.echo(f"task {made['task']}: manyarm task logs -f {made['task']}")
        return
    click.echo(f"task {made['task']}", err=True)
    task = following.follow(hub, made["task"], timeout_s=timeout_s)
    if as_json:
        printing.as_json(task)
    following.end_with(task)
    click.echo(f"{project} {release} is in {environment}", err=True)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise CommandFailed(f"--var {text!r}: expected NAME=VALUE", Status.USAGE)
    return name, value

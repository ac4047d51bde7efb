"""`manyarm rollback`: goes back to a release that was there before, without sending its packages."""

import click

from hub.cli.client import following, printing
from hub.cli.client.hub_api import api
from hub.cli.client.plans import show_plan
from hub.cli.client.standing import standing, with_standing


@click.command()
@click.argument("project")
@click.option("--to", "environment", required=True, help="The environment.")
@click.option("--release", help="A version that was there; left out: the one before the present one.")
@click.option("--plan", "plan_only", is_flag=True, help="Show where it leads to and what it would do; move nothing.")
@click.option("--watch", is_flag=True, help="Follow the log and end as the task ends.")
@click.option("--only", multiple=True, metavar="TARGET")
@click.option("--skip", multiple=True, metavar="STEP")
@with_standing
@click.option("--timeout", "timeout_s", type=float, help="Seconds to watch at the most.")
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
def rollback(
    ctx: click.Context,
    project: str,
    environment: str,
    release: str | None,
    plan_only: bool,
    watch: bool,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    priority: str | None,
    parent: str | None,
    timeout_s: float | None,
    as_json: bool,
) -> None:
    """Go back to an earlier release of PROJECT in an environment.

    Each target points to what an earlier deployment left there; no package is sent. A target that has it no more says
    so and fails.
    """
    body: dict[str, object] = {"project": project, "environment": environment, "switch": True}
    body |= {"release": release} if release else {}
    body |= {"only_targets": list(only)} if only else {}
    body |= {"skip_steps": list(skip)} if skip else {}
    body |= standing(priority, parent)
    body |= {"plan_only": True} if plan_only else {}
    hub = api(ctx.obj["url"])
    made = hub.post("/deployments", body)
    if plan_only:
        printing.as_json(made) if as_json else show_plan(made["plan"])
        return
    words = f"back to {project} {made['release']} in {environment}"
    if not watch:
        printing.as_json(made) if as_json else click.echo(
            f"{words}: task {made['task']}: manyarm task logs -f {made['task']}"
        )
        return
    click.echo(f"{words}: task {made['task']}", err=True)
    task = following.follow(hub, made["task"], timeout_s=timeout_s)
    if as_json:
        printing.as_json(task)
    following.end_with(task)
    click.echo(f"{project} {made['release']} is in {environment} again", err=True)

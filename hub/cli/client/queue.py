"""`manyarm queue`: what waits and why, and how to hold it, let it go, or change its order."""

import click

from hub.cli.client import printing
from hub.cli.client.hub_api import api, part
from hub.cli.client.standing import PRIORITIES

COLUMNS = ("task", "title", "priority", "since", "why")


@click.group()
def queue() -> None:
    """Tasks that wait for their turn."""


@queue.command(name="list")
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List what waits, the oldest first, with the reason; and what is paused."""
    found = api(ctx.obj["url"]).get("/queue", limit=1000)
    if as_json:
        printing.as_json(found)
        return
    for pause in found["paused"]:
        words = f"{pause['place']} is paused by {pause['by']} since {pause['since']}"
        click.echo(printing.plain(f"{words}: {pause['reason']}" if pause["reason"] else words), err=True)
    printing.table(found["items"], COLUMNS)
    if found["next"]:
        click.echo(f"the first {len(found['items'])} of {found['waiting']}", err=True)


@queue.command()
@click.option("--project")
@click.option("--environment")
@click.option("--reason", default="", help="Shown to everybody who waits.")
@click.pass_context
def pause(ctx: click.Context, project: str | None, environment: str | None, reason: str) -> None:
    """Let nothing begin any more in a project, an environment, one in the other, or the hub; what runs goes on."""
    made = api(ctx.obj["url"]).post("/queue/pause", _place(project, environment) | {"reason": reason})
    click.echo(f"{printing.plain(made['place'])} is paused")


@queue.command()
@click.option("--project")
@click.option("--environment")
@click.pass_context
def resume(ctx: click.Context, project: str | None, environment: str | None) -> None:
    """Let tasks begin again, there where they were paused."""
    made = api(ctx.obj["url"]).post("/queue/resume", _place(project, environment))
    click.echo(f"{printing.plain(made['place'])} goes on")


@queue.command()
@click.argument("task_id", metavar="TASK")
@click.argument("priority", type=click.Choice(PRIORITIES))
@click.pass_context
def priority(ctx: click.Context, task_id: str, priority: str) -> None:
    """Let a queued TASK go before others of its project, or behind them; an urgent one goes before other projects."""
    made = api(ctx.obj["url"]).post(f"/tasks/{part(task_id)}/priority", {"priority": priority})
    click.echo(f"task {made['task']}: {made['priority']}")


def _place(project: str | None, environment: str | None) -> dict[str, str]:
    return {name: ref for name, ref in (("project", project), ("environment", environment)) if ref is not None}

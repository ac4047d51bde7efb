"""`manyarm variable explain`: which value wins for a place, and why the others lose."""

import click

from hub.cli.client import printing
from hub.cli.client.hub_api import api, part


@click.group()
def variable() -> None:
    """Variables of projects and variable sets."""


@variable.command()
@click.argument("project")
@click.argument("name")
@click.option("--environment", required=True)
@click.option("--target")
@click.option("--step")
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
def explain(
    ctx: click.Context, project: str, name: str, environment: str, target: str | None, step: str | None, as_json: bool
) -> None:
    """Say which value of NAME wins and why the others lose."""
    found = api(ctx.obj["url"]).get(
        f"/projects/{part(project)}/variables/{part(name)}/explain", environment=environment, target=target, step=step
    )
    if as_json:
        printing.as_json(found)
        return
    winner = found["winner"]
    click.echo(f"{name} = {printing.plain(winner['value'])}" if winner else f"{name} has no value there")
    for loser in found["losers"]:
        click.echo(f"  not {printing.plain(str(loser['value']))}: {loser['reason']}")

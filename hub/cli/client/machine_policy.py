"""`manyarm machine-policy`: how targets are looked at, and what deployments do with those that are away."""

import click

from hub.cli.client import printing
from hub.cli.client.hub_api import api, part

COLUMNS = ("name", "interval_s", "unavailable", "wait_s", "catch_up", "targets")


@click.group()
def machine_policy() -> None:
    """Machine policies. Made and changed by `manyarm apply` (kind: MachinePolicy)."""


@machine_policy.command(name="list")
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List machine policies, with their targets."""
    found = list(api(ctx.obj["url"]).items("/machine-policies"))
    printing.as_json(found) if as_json else printing.table(found, COLUMNS)


@machine_policy.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
def show(ctx: click.Context, name: str, as_json: bool) -> None:
    """Show one machine policy, with its script."""
    found = api(ctx.obj["url"]).get(f"/machine-policies/{part(name)}")
    if as_json:
        printing.as_json(found)
        return
    printing.table([found], COLUMNS)
    if found["script"]:
        click.echo(f"{found['shell']} script:")
        for line in found["script"].splitlines():
            click.echo(f"  {printing.plain(line)}")


@machine_policy.command()
@click.argument("name")
@click.confirmation_option(prompt="Delete the policy? Its targets will have the default one.")
@click.pass_context
def delete(ctx: click.Context, name: str) -> None:
    """Delete a machine policy; its targets fall back to Default."""
    api(ctx.obj["url"]).delete(f"/machine-policies/{part(name)}")
    click.echo(f"{name} deleted")

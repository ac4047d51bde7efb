"""`manyarm target`: the machines, their health and whether they take part."""

import click

from hub.cli.client import printing
from hub.cli.client.hub_api import api, part
from hub.cli.client.target_adding import add_cloud, add_listening, add_ssh, confirm_host_key
from hub.cli.client.target_checking import check

COLUMNS = ("name", "kind", "health", "roles", "environments", "last_seen", "disabled")


@click.group()
def target() -> None:
    """Targets: where packages go and scripts run."""


@target.command(name="list")
@click.option("--environment")
@click.option("--role")
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
def list_(ctx: click.Context, environment: str | None, role: str | None, as_json: bool) -> None:
    """List targets."""
    found = list(api(ctx.obj["url"]).items("/targets", environment=environment, role=role))
    printing.as_json(found) if as_json else printing.table(found, COLUMNS)


@target.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
def show(ctx: click.Context, name: str, as_json: bool) -> None:
    """Show one target with its thumbprint and why its health is what it is."""
    found = api(ctx.obj["url"]).get(f"/targets/{part(name)}")
    if as_json:
        printing.as_json(found)
        return
    printing.table(
        [found], ("name", "kind", "health", "health_since", "health_reason", "policy", "last_seen", "runner", "python")
    )
    if found["thumbprint"]:
        click.echo(f"thumbprint: {found['thumbprint']}")
    for field, value in (found["endpoint"] or {}).items():
        if value not in (None, "", {}):
            click.echo(f"{field}: {printing.plain(str(value))}")
    for wait in found["waits"]:
        click.echo(printing.plain(wait["sentence"]))


for adding in (add_ssh, add_listening, add_cloud, confirm_host_key):
    target.add_command(adding)


target.add_command(check)


@target.command()
@click.argument("name")
@click.argument("policy")
@click.pass_context
def set_policy(ctx: click.Context, name: str, policy: str) -> None:
    """Give target NAME the machine policy POLICY (Default: as targets that name none)."""
    api(ctx.obj["url"]).post(f"/targets/{part(name)}/policy", {"policy": policy})
    click.echo(f"{name} has the policy {policy}")


@target.command()
@click.argument("name")
@click.pass_context
def enable(ctx: click.Context, name: str) -> None:
    """Let a disabled target take part again."""
    api(ctx.obj["url"]).post(f"/targets/{part(name)}/enable", {})
    click.echo(f"{name} takes part again")


@target.command()
@click.argument("name")
@click.option("--reason", default="", help="Shown wherever the target is skipped.")
@click.pass_context
def disable(ctx: click.Context, name: str, reason: str) -> None:
    """Leave a target out of deployments until it is enabled."""
    api(ctx.obj["url"]).post(f"/targets/{part(name)}/disable", {"reason": reason})
    click.echo(f"{name} is left out until: manyarm target enable {name}")


@target.command()
@click.argument("name")
@click.confirmation_option(prompt="Delete the target and revoke nothing of its spoke?")
@click.pass_context
def delete(ctx: click.Context, name: str) -> None:
    """Delete a target."""
    api(ctx.obj["url"]).delete(f"/targets/{part(name)}")
    click.echo(f"{name} deleted")

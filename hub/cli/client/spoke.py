"""`manyarm spoke`: who may carry work; a spoke is approved after its thumbprint was compared."""

import click

from hub.cli.client import printing
from hub.cli.client.hub_api import Json, api, part
from hub.cli.ending import CommandFailed, Status

COLUMNS = ("name", "kind", "state", "address", "relay", "reached", "last_seen", "software", "thumbprint")


@click.group()
def spoke() -> None:
    """Spokes and relays: the programs that carry work to targets."""


@spoke.command(name="list")
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List spokes with their full thumbprints."""
    found = list(api(ctx.obj["url"]).items("/spokes"))
    printing.as_json(found) if as_json else printing.table(found, COLUMNS)


@spoke.command()
@click.argument("name")
@click.option("--thumbprint", help="What `manyarm-spoke thumbprint` printed on the machine; asked for when left out.")
@click.pass_context
def approve(ctx: click.Context, name: str, thumbprint: str | None) -> None:
    """Approve a pending spoke whose thumbprint you have compared."""
    hub = api(ctx.obj["url"])
    found = hub.get(f"/spokes/{part(name)}")
    if thumbprint is None:
        click.echo(f"{found['name']}\n  {found['thumbprint']}\nOn the machine: manyarm-spoke thumbprint", err=True)
        click.confirm("Are the two the same?", abort=True)
    elif thumbprint.strip() != found["thumbprint"]:
        raise CommandFailed(
            f"{name} has another thumbprint:\n  given {thumbprint}\n  found {found['thumbprint']}\nnot approved",
            Status.NOT_ALLOWED,
        )
    done = hub.post(f"/spokes/{part(name)}/approve", {"thumbprint": found["thumbprint"]})
    click.echo(f"{name} is trusted")
    _tell(done)


@spoke.command()
@click.argument("name")
@click.pass_context
def rotate(ctx: click.Context, name: str) -> None:
    """Have a spoke make new keys; it goes on with the old ones until the hub has heard the new."""
    click.echo(api(ctx.obj["url"]).post(f"/spokes/{part(name)}/rotate", {})["notice"])


@spoke.command()
@click.argument("name")
@click.option("--replaces", required=True, help="The spoke whose keys are lost: it is revoked, its target stays.")
@click.option("--thumbprint", required=True, help="What `manyarm-spoke thumbprint` printed on the machine.")
@click.pass_context
def replace(ctx: click.Context, name: str, replaces: str, thumbprint: str) -> None:
    """Approve a pending spoke in the place of one that lost its keys."""
    body = {"replaces": replaces, "thumbprint": thumbprint}
    made = api(ctx.obj["url"]).post(f"/spokes/{part(name)}/replace", body)
    click.echo(f"{made['name']} is trusted, and its former self is revoked")


@spoke.command()
@click.argument("name")
@click.option("--reason", default="")
@click.pass_context
def revoke(ctx: click.Context, name: str, reason: str) -> None:
    """Trust a spoke no longer: at once, its running jobs included."""
    done = api(ctx.obj["url"]).post(f"/spokes/{part(name)}/revoke", {"reason": reason})
    click.echo(f"{name} is revoked")
    _tell(done)


@spoke.command()
@click.argument("name")
@click.argument("address")
@click.pass_context
def move(ctx: click.Context, name: str, address: str) -> None:
    """Let relays dial the listening spoke NAME at ADDRESS (HOST:PORT); it must show the same key there."""
    done = api(ctx.obj["url"]).post(f"/spokes/{part(name)}/move", {"address": address})
    click.echo(f"{name} is dialled at {done['address']}")


def _tell(done: Json) -> None:
    """What is left to do, where something is."""
    if done["notice"]:
        click.echo(printing.plain(done["notice"]), err=True)

"""`manyarm account`: logins and cloud credentials; they are written by `manyarm apply`, and never shown."""

import click

from hub.cli.client import printing
from hub.cli.client.hub_api import api, part

COLUMNS = ("name", "kind", "secrets", "environments", "targets")


@click.group()
def account() -> None:
    """Accounts: how to get into machines and clouds. Made and changed by `manyarm apply` (kind: Account)."""


@account.command(name="list")
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List accounts, with the names of their secrets."""
    found = list(api(ctx.obj["url"]).items("/accounts"))
    printing.as_json(found) if as_json else printing.table(found, COLUMNS)


@account.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
def show(ctx: click.Context, name: str, as_json: bool) -> None:
    """Show one account without its secrets."""
    found = api(ctx.obj["url"]).get(f"/accounts/{part(name)}")
    if as_json:
        printing.as_json(found)
        return
    printing.table([found], COLUMNS)
    for field, value in sorted(found["fields"].items()):
        click.echo(f"{field}: {printing.plain(value)}")


@account.command()
@click.argument("name")
@click.confirmation_option(prompt="Delete the account? What names it cannot be deployed until it has another one.")
@click.pass_context
def delete(ctx: click.Context, name: str) -> None:
    """Delete an account that no target uses."""
    api(ctx.obj["url"]).delete(f"/accounts/{part(name)}")
    click.echo(f"{name} deleted")

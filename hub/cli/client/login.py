"""`manyarm login`: saves a hub's address and an API key after having tried them."""

import sys

import click

from hub.cli.client import access
from hub.cli.client.hub_api import HubApi


@click.command()
@click.argument("url")
@click.option("--key", help="The API key; asked for (or read from standard input) when left out.")
def login(url: str, key: str | None) -> None:
    """Save URL and an API key for later commands, readable by this user alone."""
    typed = key or (click.prompt("API key", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline())
    chosen = access.Access(url.rstrip("/"), str(typed).strip())
    me = HubApi(chosen).get("/me")
    click.echo(f"logged in to {chosen.url} as {me['name']}; saved in {access.save(chosen)}")

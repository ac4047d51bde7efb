"""`manyarm join-code`: makes the code with which one spoke enrols once."""

import click

from hub.cli.client import printing
from hub.cli.client.hub_api import api


@click.group()
def join_code() -> None:
    """Join codes: one use, short-lived, bound to roles and environments."""


@join_code.command()
@click.option(
    "--kind",
    type=click.Choice(["spoke", "relay", "ssh", "local"]),
    default="spoke",
    show_default=True,
    help="Who may use it: a machine's own spoke (polling or listening), or one that stands beside the hub.",
)
@click.option("--role", "roles", multiple=True, help="Roles that the target gets.")
@click.option("--environment", "environments", multiple=True, help="Environments that the target joins.")
@click.option("--name", "name_pattern", default="", help="Only names of this pattern (web-*) may use it.")
@click.option("--auto-approve", is_flag=True, help="Trust whoever brings the code without a look at the thumbprint.")
@click.option("--ttl", "ttl_s", type=int, default=1800, show_default=True, help="Seconds.")
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
def create(
    ctx: click.Context,
    kind: str,
    roles: tuple[str, ...],
    environments: tuple[str, ...],
    name_pattern: str,
    auto_approve: bool,
    ttl_s: int,
    as_json: bool,
) -> None:
    """Make a join code."""
    body = {
        "role": kind,
        "roles": list(roles),
        "environments": list(environments),
        "name_pattern": name_pattern,
        "approve": "auto" if auto_approve else "manual",
        "ttl_s": ttl_s,
    }
    made = api(ctx.obj["url"]).post("/join-codes", body)
    if as_json:
        printing.as_json(made)
        return
    click.echo(made["code"])
    if kind != "spoke":
        line = f"manyarm-spoke --home HOME {kind} --join-file FILE"
        click.echo(f"\nBeside the hub, with the code in a FILE that its user alone can read:\n  {line}\n", err=True)
        return
    lines = [made["install"], f"manyarm-spoke enrol {made['code']} --name NAME"]
    click.echo("\nOn the target:\n" + "".join(f"  {line}\n" for line in lines if line), err=True)

"""`manyarm init`: makes the home: keys, database, and the code for the first administrator."""

import click

from hub.cli.server.starting import begin, refuse_uninstalled, telling
from hub.errors import Conflict


@click.command()
@click.option("--new-setup-code", is_flag=True, help="On an installed hub: another code where the first was lost.")
@click.pass_context
@telling
def init(ctx: click.Context, new_setup_code: bool) -> None:
    """Make the home. Shows the recovery string once: keep it where the hub is not."""
    from hub.installation import install, renew_setup_code

    settings = begin(ctx.obj["home"], "init")
    if new_setup_code:
        refuse_uninstalled(settings)
        click.echo(f"Setup code (once, 24 h): {renew_setup_code(settings)}")
        return
    try:
        made = install(settings)
    except Conflict as error:
        raise Conflict(
            f"{error.detail}; nothing was changed. Start it with `manyarm up`; "
            "`manyarm init --new-setup-code` makes another setup code."
        ) from error
    click.echo(f"Home              {settings.home}")
    click.echo(f"Master key        {settings.master_key_source}")
    click.echo(f"Root thumbprint   {made.root_thumbprint}")
    click.echo("")
    click.echo(
        "Recovery string of the master key. It is shown once; without it and the key, nothing can be read again:"
    )
    click.echo(f"  {made.recovery_string}")
    click.echo("")
    click.echo(f"Setup code (once, 24 h): {made.setup_code}")
    click.echo(f"Next: manyarm up, then {settings.portal_url}/setup")

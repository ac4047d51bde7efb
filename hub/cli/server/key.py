"""`manyarm key`: shows the hub's keys, issues key files for parts on other machines, and takes keys offline."""

import sys
from pathlib import Path

import click

from hub.cli.ending import CommandFailed, Status
from hub.cli.server.local_engine import local_engine
from hub.cli.server.starting import begin, settings_of, telling


@click.group()
def key() -> None:
    """Keys of the hub."""


@key.command()
@click.pass_context
@telling
def show(ctx: click.Context) -> None:
    """Show every key's role, thumbprint, state and end; never a private half."""
    from hub.cli.client.printing import table
    from hub.queries.listing import at_text
    from hub.storage.hub_trust import installation
    from hub.storage.models import HubKey
    from wire.keys import thumbprint

    with local_engine(begin(ctx.obj["home"], "key")) as here:
        click.echo(f"master key {here.master.id}, hub {installation().hub_id}")
        rows = [
            {
                "role": row.role,
                "state": str(row.state),
                "ends": at_text(row.not_after),
                "thumbprint": thumbprint(bytes.fromhex(row.public_key)),
            }
            for row in HubKey.select().order_by(HubKey.role, HubKey.not_before)
        ]
        table(rows, ("role", "state", "ends", "thumbprint"))


@key.command()
@click.argument("part", type=click.Choice(["portal", "gateway"]))
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_context
@telling
def issue(ctx: click.Context, part: str, file: Path) -> None:
    """Write the key of a portal or gateway that runs on another machine; it opens what that part opens, no more."""
    from hub.storage.vault_master import write_kek

    with local_engine(begin(ctx.obj["home"], "key")) as here, here.writing():
        write_kek(here.master.kek(part), file)
        here.record("key.issue", f"kek:{part}", {"file": str(file)})
    click.echo(f"{file}: set MANYARM_KEK_FILE to it on the {part}'s machine, mode 0600")


@key.command(name="export-root")
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_context
@telling
def export_root(ctx: click.Context, file: Path) -> None:
    """Move the root key into FILE under a passphrase, to be kept offline; the hub forgets it."""
    _export(ctx, "hub-root", file)


@key.command(name="export-release")
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_context
@telling
def export_release(ctx: click.Context, file: Path) -> None:
    """Move the key that signs runners into FILE under a passphrase, for your CI; the hub forgets it."""
    _export(ctx, "hub-release", file)


@key.command(name="verify-recovery")
@click.pass_context
@telling
def verify_recovery(ctx: click.Context) -> None:
    """Prove that a recovery string opens this hub; it is asked for, and stored nowhere."""
    from hub.storage.key_check import compare, stored_check
    from hub.storage.vault_master import MasterKey

    settings = settings_of(ctx.obj["home"])
    stored = stored_check(settings.database)
    if stored is None:
        raise CommandFailed(f"{settings.home} holds no hub", Status.NOT_FOUND)
    compare(MasterKey.from_text(_asked("Recovery string")).check, stored)
    click.echo("the recovery string opens this hub")


def _export(ctx: click.Context, role: str, file: Path) -> None:
    from hub.storage.vault_export import forget_exported, write_exported
    from wire.roles import Role

    with local_engine(begin(ctx.obj["home"], "key")) as here:
        phrase = _asked("Passphrase", twice=True)
        write_exported(here.vault, Role(role), phrase, file)
        with here.writing():
            row = forget_exported(here.seals, Role(role), file, phrase)
            here.record("key.export", f"hub-key:{row.kid}", {"role": role})
    click.echo(f"{file} holds the only copy now: keep it, and its passphrase, where the hub is not")


def _asked(what: str, *, twice: bool = False) -> str:
    if sys.stdin.isatty():
        return str(click.prompt(what, hide_input=True, confirmation_prompt=twice))
    return sys.stdin.readline().strip()

"""`manyarm audit`: recomputes the chain of events, over the database or over an exported file, on any machine."""

from pathlib import Path

import click

from config.settings import HubSettings
from hub.cli.ending import CommandFailed, Status
from hub.cli.server.starting import begin, refuse_uninstalled, telling
from hub.events.audit import VerifyResult
from wire.keys import VerifyKey


@click.group()
def audit() -> None:
    """The audit log: each event is chained to the one before it."""


@audit.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.pass_context
@telling
def verify(ctx: click.Context, file: Path | None) -> None:
    """Recompute the chain of the home's database, or of a FILE that `audit export` wrote; name the first bad event."""
    from hub.events.audit import verify_file

    _tell(verify_file(file) if file is not None else verified(begin(ctx.obj["home"], "audit")))


@audit.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_context
@telling
def export(ctx: click.Context, file: Path) -> None:
    """Write the whole log as a file that `audit verify FILE` reads without a hub."""
    from hub.events.audit import export as write
    from hub.storage.database import connection, open_database
    from hub.storage.hub_trust import installation

    settings = begin(ctx.obj["home"], "audit")
    refuse_uninstalled(settings)
    open_database(settings.database)
    with connection(), file.open("x", encoding="utf-8") as out:
        count = write(out, installation().hub_id, _audit_keys())
    click.echo(f"{count} events written to {file}")


def verified(settings: HubSettings) -> VerifyResult:
    """The chain of a home's database, recomputed."""
    from hub.events.audit import verify_database
    from hub.storage.database import connection, open_database
    from hub.storage.hub_trust import installation

    refuse_uninstalled(settings)
    open_database(settings.database)
    with connection():
        return verify_database(installation().hub_id, _audit_keys())


def _audit_keys() -> list[VerifyKey]:
    from hub.storage.hub_trust import audit_keys

    return audit_keys()


def _tell(result: VerifyResult) -> None:
    if result.ok:
        click.echo(f"{result.events} events, every one chained to the one before it")
        return
    if result.stale:
        raise CommandFailed(f"{result.reason}: {', '.join(result.stale)}", Status.TASK_FAILED)
    raise CommandFailed(f"event {result.first_bad_seq}: {result.reason} ({result.code})", Status.TASK_FAILED)

"""`manyarm backup`: one file that holds a hub, and a hub out of such a file."""

import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hub.cli.server.local_engine import local_engine
from hub.cli.server.starting import begin, refuse_uninstalled, telling

if TYPE_CHECKING:
    from hub.backup.creating import Made
    from hub.backup.new_epoch import Begun

_UNTIL = "until that is done no command goes out"


@click.group()
def backup() -> None:
    """Keep the hub in one file, and put it back."""


@backup.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--with-key", is_flag=True, help="Put the master key in as well, under a passphrase that is asked for.")
@click.pass_context
@telling
def create(ctx: click.Context, file: Path, with_key: bool) -> None:
    """Write everything that the hub knows into FILE, while it works: database, packages, logs, artifacts.

    The file opens with the hub's master key alone, which is not in it: keep the recovery string elsewhere.
    """
    from hub.backup.creating import Source, create, listed
    from hub.storage.models import now_ms

    with local_engine(begin(ctx.obj["home"], "backup")) as here:
        phrase = _passphrase(twice=True) if with_key else ""
        settings = here.settings
        source = Source(settings.home, settings.database, here.master, version("manyarm"), now_ms)
        made = create(source, file, passphrase=phrase)
        with here.writing():
            here.record("backup.create", f"backup:{made.head.id}", _noted(made, with_key=with_key))
    click.echo(f"{file}: {made.size} bytes, backup {made.head.id} under master key {here.master.id}")
    if made.missing:
        words = f"{len(made.missing)} files that the database names are not there: {listed(made.missing)}"
        click.echo(f"{words}. The backup is whole without them; `manyarm doctor` looks closer.", err=True)


@backup.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.pass_context
@telling
def verify(ctx: click.Context, file: Path) -> None:
    """Read all of FILE, and say what it is; nothing is written."""
    from hub.backup.new_epoch import moment
    from hub.backup.restoring import verify
    from hub.storage.vault_master import MasterKey

    settings = begin(ctx.obj["home"], "backup")
    head, entries = verify(file, MasterKey.read(settings.master_key_source, settings.home))
    click.echo(f"backup {head.id} of hub {head.hub}, made {moment(head.at)} by Manyarm {head.software}")
    click.echo(f"{entries} parts, every one whole; {head.events} events; master key {head.mk_check[:8]}")


@backup.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--replace", is_flag=True, help="Also where a hub is already: its database makes way.")
@click.option("--above", type=int, default=0, help="A trust document that spokes have, as the hub says it: go beyond.")
@click.pass_context
@telling
def restore(ctx: click.Context, file: Path, replace: bool, above: int) -> None:
    """Put the hub of FILE into the home, in a new epoch; the hub must not run.

    What it did after the backup it has forgotten: the spokes say what became of work that was under way, and nothing is
    done a second time. docs/backup.md says what to look at afterwards.
    """
    from hub.backup.fitting import Destination
    from hub.backup.restoring import restore
    from hub.storage.models import now_ms

    settings = begin(ctx.obj["home"], "backup")
    to = Destination(settings.home, settings.database, settings.master_key_source, now_ms)
    done = restore(to, file, replace=replace, passphrase=_passphrase, above=above)
    click.echo(f"{settings.home}: hub {done.head.hub} with {done.rows} rows and {done.files} files")
    if done.set_aside:
        click.echo(f"The database that was there lies in {done.set_aside}")
    _tell(done.begun)
    click.echo("Next: manyarm up")


@backup.command(name="new-epoch")
@click.option("--above", type=int, default=0, help="A trust document that spokes have, as the hub says it: go beyond.")
@click.pass_context
@telling
def new_epoch(ctx: click.Context, above: int) -> None:
    """Say that the database was put back to an earlier state by other means than ours; the hub must not run."""
    from hub.backup import new_epoch as epochs
    from hub.backup.fitting import refuse_running
    from hub.storage.database import engine_lock
    from hub.storage.models import ChainHead

    settings = begin(ctx.obj["home"], "backup")
    refuse_uninstalled(settings)
    refuse_running(settings.home, settings.database)
    with engine_lock(settings.home, settings.database), local_engine(settings) as here:
        since = ChainHead.get_by_id(1).at
        with here.writing() as now:
            context = here.acting(now)
            begun = epochs.begin_epoch(context, forgot_since=since, words=epochs.restored_words(since), above=above)
        epochs.close_the_past(context)
    _tell(begun)


def _tell(begun: "Begun") -> None:
    click.echo(f"Epoch {begun.epoch}, trust document {begun.trust_version}; {begun.tasks} tasks had not ended")
    if begun.sentence:
        click.echo(f"{begun.sentence}; {_UNTIL}", err=True)


def _noted(made: "Made", *, with_key: bool) -> dict[str, object]:
    return {"bytes": made.size, "sha256": made.sha256, "missing": len(made.missing), "with_key": with_key}


def _passphrase(*, twice: bool = False) -> str:
    if sys.stdin.isatty():
        asked = "Passphrase of the master key in the backup"
        return str(click.prompt(asked, hide_input=True, confirmation_prompt=twice))
    return sys.stdin.readline().rstrip("\n")

"""`manyarm user`: people, beside the database, for whoever has the master key at hand."""

import sys

import click

from hub.cli.ending import CommandFailed, Status
from hub.cli.server.local_engine import LocalEngine, local_engine
from hub.cli.server.starting import begin, telling
from hub.errors import Conflict, NotFound
from hub.states import UserState
from hub.storage.models import User

_DAY_MS = 86_400_000


@click.group()
def user() -> None:
    """People, beside the database: needs the master key, not the portal."""


@user.command()
@click.argument("name")
@click.option("--role", default="system-admin", show_default=True)
@click.pass_context
@telling
def add(ctx: click.Context, name: str, role: str) -> None:
    """Add a person; the password is asked for, or read from standard input."""
    from hub.access.users import create_user, grant_role

    with local_engine(begin(ctx.obj["home"], "user")) as here:
        hashed = _new_password(name)
        with here.writing() as now_ms:
            row = create_user(here.seals, name, now_ms, password_hash=hashed)
            grant_role(here.seals, row.id, role, now_ms)
            here.record("user.create", f"user:{row.id}", {"name": row.name, "role": role})
    click.echo(f"{row.name} is a {role}")


@user.command()
@click.argument("name")
@click.pass_context
@telling
def password(ctx: click.Context, name: str) -> None:
    """Set a person's password; all their sessions and API keys end."""
    from hub.access.users import set_password

    with local_engine(begin(ctx.obj["home"], "user")) as here:
        row = _known(name)
        hashed = _new_password(name)
        with here.writing():
            set_password(here.seals, row, hashed)
            here.record("user.password", f"user:{row.id}", {})
    click.echo(f"{row.name} has a new password")


@user.command()
@click.argument("name")
@click.pass_context
@telling
def disable(ctx: click.Context, name: str) -> None:
    """Lock a person out, with all sessions and API keys."""
    from hub.access.users import disable_user

    with local_engine(begin(ctx.obj["home"], "user")) as here, here.writing() as now_ms:
        row = _known(name)
        disable_user(here.seals, row, now_ms)
        here.record("user.disable", f"user:{row.id}", {})
    click.echo(f"{row.name} is locked out")


@user.command(name="api-key")
@click.argument("name")
@click.option("--days", type=click.IntRange(1, 366), default=90, show_default=True)
@click.option("--label", default="made on the console", show_default=True)
@click.pass_context
@telling
def api_key(ctx: click.Context, name: str, days: int, label: str) -> None:
    """Make an API key for a person and print it, once, on standard output."""
    with local_engine(begin(ctx.obj["home"], "user")) as here:
        click.echo(_make_key(here, name, days, label))


def _make_key(here: LocalEngine, name: str, days: int, label: str) -> str:
    from hub.access.api_keys import new_api_key

    owner = _known(name)
    if owner.state is not UserState.ACTIVE:
        raise Conflict(f"{owner.name} is locked out, so a key would open nothing")
    with here.writing() as now_ms:
        row, text = new_api_key(here.seals, owner, label, now_ms, expires_at=now_ms + days * _DAY_MS)
        here.record("api-key.create", f"api-key:{row.id}", {"user": row.user, "name": label})
    return text.reveal()


def _known(name: str) -> User:
    from hub.access.users import find_user

    row = find_user(name)
    if row is None:
        raise NotFound(f"there is no user {name!r}")
    return row


def _new_password(name: str) -> str:
    from hub.access.passwords import Passwords, check_new_password

    if sys.stdin.isatty():
        typed = str(click.prompt("Password", hide_input=True, confirmation_prompt=True))
    else:
        typed = sys.stdin.readline().rstrip("\n")
    if not typed:
        raise CommandFailed("a password is needed on standard input", Status.USAGE)
    check_new_password(typed, name)
    return Passwords().hash(typed)

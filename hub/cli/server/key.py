"""`manyarm key`: shows the hub's keys, issues key files for parts on other machines, and takes keys offline."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hub.cli.ending import CommandFailed, Status
from hub.cli.server.local_engine import local_engine
from hub.cli.server.starting import begin, settings_of, telling

if TYPE_CHECKING:
    from hub.storage.vault_master import MasterKey
    from hub.trust.publishing import Published
    from wire.trust import TrustDocument


@click.group()
def key() -> None:
    """Keys of the hub."""


@key.command()
@click.pass_context
@telling
def show(ctx: click.Context) -> None:
    """Show every key's role, thumbprint, state and end; never a private half."""
    from hub.cli.client.printing import table
    from hub.queries.keys import keys
    from hub.storage.hub_trust import installation

    with local_engine(begin(ctx.obj["home"], "key")) as here:
        click.echo(f"master key {here.master.id}, hub {installation().hub_id}")
        found = keys()
        click.echo(f"trust document {found.trust_version}, ends {found.trust_ends}")
        if found.waiting is not None:
            why = "; ".join(found.waiting.reasons)
            click.echo(f"trust document {found.waiting.version} waits for the offline root: {why}")
        table([view.model_dump() for view in found.keys], ("role", "state", "ends", "thumbprint"))


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


@key.command()
@click.argument("name", type=click.Choice(["command", "box", "portal", "rows", "release", "audit", "root"]))
@click.option("--revoke", is_flag=True, help="The old key counts no longer from now on: somebody else may have it.")
@click.option("--reason", default="", help="For the audit log.")
@click.pass_context
@telling
def rotate(ctx: click.Context, name: str, revoke: bool, reason: str) -> None:
    """Put a new key in the place of an old one, while everything runs."""
    from hub.trust.rotation import KeyName
    from hub.trust.rotation import rotate as make_anew

    with local_engine(begin(ctx.obj["home"], "key")) as here, here.writing() as now_ms:
        made = make_anew(here.acting(now_ms), KeyName(name), revoke=revoke, reason=reason)
    click.echo(f"new {name} key {made.kid}")
    _tell_published(made.published)


@key.command(name="rotate-master")
@click.pass_context
@telling
def rotate_master(ctx: click.Context) -> None:
    """Put a new master key in the place of the old one, while everything runs; shows its recovery string once."""
    from hub.storage.vault_rotation import rotate_master as make_anew

    with local_engine(begin(ctx.obj["home"], "key")) as here:
        detail = {"former": here.master.check}

        def noted(new: "MasterKey") -> None:
            here.record("key.rotate-master", "hub", {**detail, "mk_check": new.check})

        settings = here.settings
        made = make_anew(settings.master_key_source, settings.home, here.master, noted)
    click.echo(f"master key {made.id} is in the place of {here.master.id}; what runs goes on")
    click.echo("Recovery string. It is shown once; without it and the key, nothing can be read again:")
    click.echo(f"  {made.recovery_string()}")
    click.echo("Older backups still need the old key: keep its recovery string as long as you keep them.")
    click.echo("Key files that were issued are worth nothing now: manyarm key issue portal|gateway FILE")


@key.command(name="trust-request")
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_context
@telling
def trust_request(ctx: click.Context, file: Path) -> None:
    """Write the trust document that waits for the offline root into FILE, to be taken to where the root is."""
    from hub.storage.vault_master import write_private
    from hub.trust.root_signing import request_frame

    with local_engine(begin(ctx.obj["home"], "key")) as here:
        write_private(file, request_frame(here.acting()).hex() + "\n")
    click.echo(f"{file}: there, run `manyarm key sign-trust {file} --root ROOT-FILE --out SIGNED-FILE`")


@key.command(name="sign-trust")
@click.argument("request", required=False, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--root", "roots", required=True, multiple=True, type=click.Path(path_type=Path, exists=True))
@click.option("--out", type=click.Path(path_type=Path), help="Where the signed document goes; with REQUEST.")
@click.option("--yes", is_flag=True, help="Do not show what it changes and ask.")
@click.pass_context
@telling
def sign_trust(ctx: click.Context, request: Path | None, roots: tuple[Path, ...], out: Path | None, yes: bool) -> None:
    """Sign the trust document that waits with the exported root key.

    With a REQUEST file it needs no hub: it writes the signed document to --out. Without one it signs beside the hub
    what waits there, and puts it in force.
    """
    from hub.storage.vault_export import read_exported
    from hub.storage.vault_master import write_private
    from hub.trust.root_signing import accept, request_frame, signed_by

    if request is not None:
        if out is None:
            raise CommandFailed("say with --out where the signed document goes", Status.USAGE)
        frame = _read_frame(request)
        _confirm(None, frame, yes=yes)
        signed = signed_by(frame, [read_exported(path, _asked(f"Passphrase of {path}")) for path in roots])
        write_private(out, signed.hex() + "\n")
        click.echo(f"{out}: at the hub, run `manyarm key import-trust {out}`")
        return
    with local_engine(begin(ctx.obj["home"], "key")) as here:
        frame = request_frame(here.acting())
        _confirm(_in_force(), frame, yes=yes)
        signed = signed_by(frame, [read_exported(path, _asked(f"Passphrase of {path}")) for path in roots])
        with here.writing() as now_ms:
            published = accept(here.acting(now_ms), signed)
    _tell_published(published)


@key.command(name="import-trust")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.pass_context
@telling
def import_trust(ctx: click.Context, file: Path) -> None:
    """Put the trust document in force that was signed where the root is."""
    from hub.trust.root_signing import accept

    with local_engine(begin(ctx.obj["home"], "key")) as here, here.writing() as now_ms:
        published = accept(here.acting(now_ms), _read_frame(file))
    _tell_published(published)


def _in_force() -> "TrustDocument":
    from hub.storage.hub_trust import trust_chain

    return trust_chain().document


def _confirm(before: "TrustDocument | None", frame: bytes, *, yes: bool) -> None:
    """Whoever signs sees what he signs."""
    from hub.trust.root_signing import differences
    from wire.trust import read_trust

    document = read_trust(frame)
    click.echo(f"trust document {document.version} of hub {document.hub}", err=True)
    if before is not None:
        for line in differences(before, document):
            click.echo(f"  {line}", err=True)
    else:
        for key in document.keys:
            click.echo(f"  {key.role} key {key.kid}", err=True)
        for pin in document.tls_pins:
            click.echo(f"  {pin.role} pin {pin.spki}", err=True)
    if not yes and sys.stdin.isatty():
        click.confirm("Sign it?", abort=True, err=True)


def _tell_published(published: "Published") -> None:
    if published.in_force:
        click.echo(f"trust document {published.version} is in force")
    else:
        click.echo(published.sentence)


def _read_frame(file: Path) -> bytes:
    try:
        return bytes.fromhex(file.read_text("ascii").strip())
    except ValueError as error:
        raise CommandFailed(f"{file}: it is no trust document", Status.USAGE) from error


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

"""`manyarm package`: pushes packages, sending only the chunks that the hub lacks, and lists, shows and deletes them."""

import hashlib
from pathlib import Path

import click

from hub.cli.client import printing
from hub.cli.client.hub_api import HubApi, Json, api, part
from hub.cli.client.pushing import push_file
from hub.cli.ending import CommandFailed, Status

VERSIONS = ("id", "version", "size", "sha256", "created_at")
PACKAGES = ("id", "newest", "versions")


@click.group()
def package() -> None:
    """Packages: ID.VERSION.EXT files that releases take and targets get."""


@package.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
def push(ctx: click.Context, files: tuple[Path, ...], as_json: bool) -> None:
    """Push FILES; a version that is there already with the same bytes is no fault."""
    hub = api(ctx.obj["url"])
    answers = [_push(hub, file) for file in files]
    if as_json:
        printing.as_json(answers)
        return
    for answer in answers:
        new = f"{answer['bytes_new']:,} of them new to the hub"
        click.echo(f"{answer['id']} {answer['version']}: {answer['size']:,} bytes, {new}")


@package.command(name="list")
@click.argument("package_id", required=False)
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
def list_(ctx: click.Context, package_id: str | None, as_json: bool) -> None:
    """List all packages, or the versions of one."""
    path = f"/packages/{part(package_id)}/versions" if package_id else "/packages"
    found = list(api(ctx.obj["url"]).items(path))
    printing.as_json(found) if as_json else printing.table(found, VERSIONS if package_id else PACKAGES)


@package.command()
@click.argument("package_id")
@click.argument("version")
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
def show(ctx: click.Context, package_id: str, version: str, as_json: bool) -> None:
    """Show one version."""
    found = api(ctx.obj["url"]).get(f"/packages/{part(package_id)}/versions/{part(version)}")
    printing.as_json(found) if as_json else printing.table([found], VERSIONS)


@package.command()
@click.argument("package_id")
@click.argument("version")
@click.pass_context
def delete(ctx: click.Context, package_id: str, version: str) -> None:
    """Delete one version that no release needs."""
    api(ctx.obj["url"]).delete(f"/packages/{part(package_id)}/versions/{part(version)}")
    click.echo(f"{package_id} {version} deleted")


def _push(hub: HubApi, file: Path) -> Json:
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise CommandFailed(f"{file}: cannot be read ({error.strerror})", Status.USAGE) from error
    try:
        return push_file(hub, file, size, digest)
    except CommandFailed as error:
        raise CommandFailed(f"{file}: {error.message}", error.exit_code) from error

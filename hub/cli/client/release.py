"""`manyarm release`: makes releases and shows them."""

import click

from hub.cli.client import printing
from hub.cli.client.hub_api import api, part
from hub.cli.ending import CommandFailed, Status

COLUMNS = ("project_name", "version", "packages", "created_at")


@click.group()
def release() -> None:
    """Releases: a project's process, variables and package versions, frozen."""


@release.command()
@click.argument("project")
@click.option("--version", help="Left out: the next one after the newest.")
@click.option("--package", "packages", multiple=True, metavar="ID=VERSION", help="Left out: the newest of each.")
@click.option("--notes", default="")
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
def create(
    ctx: click.Context, project: str, version: str | None, packages: tuple[str, ...], notes: str, as_json: bool
) -> None:
    """Freeze PROJECT as it is now into a release."""
    body: dict[str, object] = {"project": project}
    if version:
        body["version"] = version
    if notes:
        body["notes"] = notes
    if packages:
        body["packages"] = dict(_pair(text) for text in packages)
    made = api(ctx.obj["url"]).post("/releases", body)
    printing.as_json(made) if as_json else click.echo(f"release {made['version']} of {made['project_name']}")


@release.command(name="list")
@click.argument("project", required=False)
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
def list_(ctx: click.Context, project: str | None, as_json: bool) -> None:
    """List releases, newest first."""
    found = list(api(ctx.obj["url"]).items("/releases", project=project))
    printing.as_json(found) if as_json else printing.table(found, COLUMNS)


@release.command()
@click.argument("project")
@click.argument("version")
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
def show(ctx: click.Context, project: str, version: str, as_json: bool) -> None:
    """Show one release with its packages and where it runs."""
    found = api(ctx.obj["url"]).get(f"/releases/{part(version)}", project=project)
    printing.as_json(found) if as_json else printing.table([found], COLUMNS)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise CommandFailed(f"--package {text!r}: expected ID=VERSION", Status.USAGE)
    return name, value

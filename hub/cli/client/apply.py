"""`manyarm apply`: makes the hub match a file, or says what it would change."""

from pathlib import Path

import click

from hub.cli.client import printing
from hub.cli.client.documents import read_documents
from hub.cli.client.hub_api import api

_SIGNS = {"create": "+", "update": "~", "delete": "-", "none": "="}


@click.command()
@click.option("-f", "--file", "files", multiple=True, required=True, type=click.Path(path_type=Path))
@click.option("--plan", "plan_only", is_flag=True, help="Show the differences; change nothing.")
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
def apply(ctx: click.Context, files: tuple[Path, ...], plan_only: bool, as_json: bool) -> None:
    """Make the hub match each FILE: all of it or, where anything in it is wrong, nothing."""
    hub = api(ctx.obj["url"])
    for file in files:
        documents, lines = read_documents(file)
        body = {"documents": documents, "lines": lines, "plan_only": plan_only}
        answer = hub.post("/apply", body, place=str(file))
        if as_json:
            printing.as_json(answer)
            continue
        for found in answer["differences"]:
            changed = f"  ({', '.join(change['field'] for change in found['changes'])})" if found["changes"] else ""
            click.echo(f"{_SIGNS[found['action']]} {found['kind']} {found['name']}{changed}")
        if plan_only:
            click.echo("nothing was changed (--plan)", err=True)

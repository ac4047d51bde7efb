"""`manyarm export project NAME`: the project as a file that `manyarm apply` takes."""

import sys

import click
from ruamel.yaml import YAML

from hub.cli.client.hub_api import api, part


@click.group()
def export() -> None:
    """Write what the hub has as a file."""


@export.command()
@click.argument("name")
@click.pass_context
def project(ctx: click.Context, name: str) -> None:
    """Write project NAME; secret values stay in the hub and are named `value_from_env`."""
    found = api(ctx.obj["url"]).get(f"/projects/{part(name)}/export")
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # Typed as None there; a switch in fact.
    writer.dump_all(found["documents"], sys.stdout)

"""A plan as lines: what would be done where, with which package and which variables."""

import click

from hub.cli.client import printing
from hub.cli.client.hub_api import Json

_HEADS = {"switch": "{project} back to {release} in {environment}", "install": "{project} {release} to {environment}"}


def show_plan(plan: Json) -> None:
    click.echo(_HEADS[plan["mode"]].format(**plan))
    for warning in plan.get("warnings", []):
        click.echo(f"  ! {printing.plain(warning)}")
    for number, step in enumerate(plan["steps"], 1):
        package = f"  {step['package']['id']} {step['package']['version']}" if step["package"] else ""
        back = ", switches back" if step["mode"] == "switch" else ""
        click.echo(f"{number}. {step['name']} ({step['kind']}{package}{back}), when {step['when']}")
        for name, value in step["properties"].items():
            if value not in (None, "", [], {}):
                click.echo(f"     {name}: {printing.plain(str(value)).strip()}")
        variables = {target["name"]: target["variables"] for target in step["targets"]}
        for count, batch in enumerate(step["batches"], 1):
            click.echo(f"   batch {count}: {', '.join(batch)}")
            for target in batch:
                for name, value in sorted(variables[target].items()):
                    if not name.startswith("Manyarm."):
                        click.echo(f"       {target}: {name} = {printing.plain(value)}")

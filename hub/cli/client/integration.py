"""`manyarm integration`: programs that hear events over AMQP and send commands that way."""

import json
import time
from typing import Any

import click

from hub.cli.client import printing
from hub.cli.client.hub_api import HubApi, api, part

COLUMNS = ("name", "state", "projects", "commands", "user", "created_at")
_READY_S = 30.0
_LOOK_S = 0.2


@click.group()
def integration() -> None:
    """Integrations: CloudEvents out and commands in, over AMQP."""


@integration.command()
@click.argument("name")
@click.option("--project", "projects", multiple=True, help="Hear of this project alone; may be repeated.")
@click.option("--commands", is_flag=True, help="It may send commands; each needs an API key that is limited to scopes.")
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
def add(ctx: click.Context, name: str, projects: tuple[str, ...], commands: bool, as_json: bool) -> None:
    """Make an account and queues at the broker; the password is shown once."""
    hub = api(ctx.obj["url"])
    body: dict[str, Any] = {"name": name, "commands": commands} | ({"projects": list(projects)} if projects else {})
    made = hub.post("/integration/consumers", body)
    consumer = _when_ready(hub, made["id"])
    if as_json:
        printing.as_json(made | {"consumer": consumer})
        return
    for word in ("user", "vhost", "events_queue", "answers_queue"):
        click.echo(f"{word.replace('_', ' ')}: {consumer[word]}", err=True)
    click.echo(made["password"])


@integration.command(name="list")
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List the programs that hear events."""
    found = list(api(ctx.obj["url"]).items("/integration/consumers"))
    printing.as_json(found) if as_json else printing.table(found, COLUMNS)


@integration.command()
@click.argument("name")
@click.pass_context
def remove(ctx: click.Context, name: str) -> None:
    """End an account at the broker, with its queues and what is in them."""
    api(ctx.obj["url"]).delete(f"/integration/consumers/{part(name)}")


@integration.command()
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
def sources(ctx: click.Context, as_json: bool) -> None:
    """List the sources of events, each with its own numbers."""
    found = list(api(ctx.obj["url"]).items("/integration/sources"))
    printing.as_json(found) if as_json else printing.table(found, ("source", "oldest", "newest", "published"))


@integration.command()
@click.argument("source")
@click.option("--after", default=0, show_default=True, help="The number of the last event that is known.")
@click.pass_context
def replay(ctx: click.Context, source: str, after: int) -> None:
    """Print the events of a source after a number, as they were published, one a line."""
    hub = api(ctx.obj["url"])
    found: str | int | None = after
    while found is not None:
        page = hub.get("/integration/events", source=source, after=found, limit=1000)
        for event in page["items"]:
            click.echo(json.dumps(event, ensure_ascii=False))
        found = page["next"]


def _when_ready(hub: HubApi, consumer_id: str) -> Any:
    """Its account is made right after the answer."""
    deadline = time.monotonic() + _READY_S
    while True:
        found = next(each for each in hub.items("/integration/consumers") if each["id"] == consumer_id)
        if found["state"] == "ready":
            return found
        if time.monotonic() > deadline:
            # What is shown once must be shown now.
            click.echo("The account is not there yet; the hub makes it when the broker is back.", err=True)
            return found
        time.sleep(_LOOK_S)

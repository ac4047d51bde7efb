"""`manyarm target check`: look at machines now, and say of each how it is and why."""

import time

import click

from hub.cli.client import printing
from hub.cli.client.following import ENDED
from hub.cli.client.hub_api import HubApi, Json, api, part
from hub.cli.ending import CommandFailed, Status

COLUMNS = ("name", "health", "health_since", "health_reason")
_WELL = frozenset({"healthy", "warning"})
_PAUSE_S = 0.3


@click.command()
@click.argument("names", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every target that is not disabled.")
@click.option("--watch", is_flag=True, help="Wait for the answers; ends with 1 if a target is not well.")
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
def check(ctx: click.Context, names: tuple[str, ...], every: bool, watch: bool, as_json: bool) -> None:
    """Look at targets now: connect, and run the script of their policy if it has one."""
    if every == bool(names):
        raise click.UsageError("name the targets, or say --all")
    hub = api(ctx.obj["url"])
    wanted = [row["name"] for row in hub.items("/targets") if not row["disabled"]] if every else list(names)
    asked = [_ask(hub, name, keep_going=every) for name in wanted]
    if not watch:
        printing.as_json(asked) if as_json else printing.table(asked, ("name", "task", "reason"))
        return
    found = [_answer(hub, each) for each in asked]
    printing.as_json(found) if as_json else printing.table(found, COLUMNS)
    poorly = [each["name"] for each in found if each["health"] not in _WELL]
    if poorly:
        raise CommandFailed(f"{len(poorly)} of {len(found)} not well: {', '.join(poorly[:10])}", Status.TASK_FAILED)


def _ask(hub: HubApi, name: str, *, keep_going: bool) -> Json:
    try:
        return {"name": name, "task": hub.post(f"/targets/{part(name)}/check", {})["task"], "reason": ""}
    except CommandFailed as error:
        if not keep_going:
            raise
        return {"name": name, "task": "", "reason": error.format_message()}


def _answer(hub: HubApi, asked: Json) -> Json:
    while asked["task"] and hub.get(f"/tasks/{part(asked['task'])}")["state"] not in ENDED:
        time.sleep(_PAUSE_S)
    found = hub.get(f"/targets/{part(asked['name'])}")
    return {**{name: found[name] for name in COLUMNS}, "health_reason": asked["reason"] or found["health_reason"]}

"""`manyarm task`: what runs and ran, its log, and how to end or repeat it."""

import json

import click

from hub.cli.client import following, printing
from hub.cli.client.hub_api import Json, api, part

TARGET_COLUMNS = (
    "step", "name", "state", "exit_code", "started_at", "ended_at", "pickup_deadline", "run_deadline",
    "ended_processes", "survivors", "message",
)  # fmt: skip
WAIT_COLUMNS = ("what", "name", "owner", "since", "deadline", "sentence")
LOG_COLUMNS = ("step", "name", "attempt", "log", "records", "digest", "agrees", "missing")
_AGREES = {True: "agrees", False: "does not agree", None: None}
COLUMNS = ("id", "kind", "title", "state", "waiting_for", "created_at", "ended_at")


@click.group()
def task() -> None:
    """Tasks: everything that the hub does or did."""


@task.command(name="list")
@click.option("--state", help="Only tasks in this state.")
@click.option("--project")
@click.option("--limit", type=click.IntRange(1, 1000), default=50)
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
def list_(ctx: click.Context, state: str | None, project: str | None, limit: int, as_json: bool) -> None:
    """List tasks, newest first."""
    found = api(ctx.obj["url"]).get("/tasks", state=state, project=project, limit=limit)["items"]
    printing.as_json(found) if as_json else printing.table(found, COLUMNS)


@task.command()
@click.argument("task_id")
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
def show(ctx: click.Context, task_id: str, as_json: bool) -> None:
    """Show a task with its steps and targets, and what it waits for."""
    found = api(ctx.obj["url"]).get(f"/tasks/{part(task_id)}")
    if as_json:
        printing.as_json(found)
        return
    printing.table([found], COLUMNS)
    rows = [{"step": step["name"], **target} for step in found["steps"] for target in step["targets"]]
    printing.table(rows, TARGET_COLUMNS)
    printing.table(_logs(rows), LOG_COLUMNS)
    if found["waits"]:
        printing.table(found["waits"], WAIT_COLUMNS)


@task.command()
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
def waits(ctx: click.Context, as_json: bool) -> None:
    """Show all that is not finished: whose move it is, until when, and why it does not move."""
    found = api(ctx.obj["url"]).get("/waits")["items"]
    printing.as_json(found) if as_json else printing.table(found, WAIT_COLUMNS)


@task.command()
@click.argument("task_id")
@click.option("-f", "--follow", "follow", is_flag=True, help="Go on until the task has ended, then end as it did.")
@click.option("--step")
@click.option("--target")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_context
def logs(ctx: click.Context, task_id: str, follow: bool, step: str | None, target: str | None, as_json: bool) -> None:
    """Print a task's log."""
    hub = api(ctx.obj["url"])
    if cleared := hub.get(f"/tasks/{part(task_id)}")["cleared_at"]:
        click.echo(f"the log was taken back at {cleared}: the task had ended long before (limits.log_keep_s)", err=True)
        return
    show_line = _as_json_line if as_json else following.print_line
    if follow:
        following.end_with(following.follow(hub, part(task_id), show=show_line))
        return
    for line in hub.items(f"/tasks/{part(task_id)}/log", step=step, target=target):
        show_line(line)


@task.command()
@click.argument("task_id")
@click.option("--watch", is_flag=True, help="Wait for the end, which says whether it was confirmed.")
@click.pass_context
def cancel(ctx: click.Context, task_id: str, watch: bool) -> None:
    """End a task: at once when it is queued, with its whole process tree when it runs."""
    hub = api(ctx.obj["url"])
    hub.post(f"/tasks/{part(task_id)}/cancel", {})
    found = following.follow(hub, part(task_id)) if watch else hub.get(f"/tasks/{part(task_id)}")
    if found["state"] in following.ENDED:
        click.echo(_how_it_ended(found))
    else:
        click.echo(f"asked; manyarm task show {task_id} says when it is confirmed")
        for wait in found["waits"]:
            if wait["what"] == "job":
                click.echo(printing.plain(wait["sentence"]), err=True)


@task.command()
@click.argument("task_id")
@click.pass_context
def retry(ctx: click.Context, task_id: str) -> None:
    """Do the same again as a new task."""
    click.echo(api(ctx.obj["url"]).post(f"/tasks/{part(task_id)}/retry", {})["task"])


def _how_it_ended(task: Json) -> str:
    """Whether the cancel is confirmed: with how many processes ended, or with who goes on."""
    targets = [target for step in task["steps"] for target in step["targets"]]
    ended = sum(target["ended_processes"] or 0 for target in targets)
    left = [f"{name} on {target['name']}" for target in targets for name in target["survivors"]]
    if task["state"] == "cancelled":
        how = (
            f"confirmed: {ended} process{'' if ended == 1 else 'es'} ended" if task["started_at"] else "before it began"
        )
        return f"task {task['id']} cancelled, {how}"
    if task["state"] == "unknown":
        words = f"still running: {', '.join(left)}" if left else task["failure"]
        return printing.plain(f"task {task['id']} unknown, not confirmed: {words}")
    return f"task {task['id']} {task['state']}: it ended before it could be cancelled"


def _logs(targets: list[Json]) -> list[Json]:
    """The digest of each job's log, and whether it is that of the spool in its outcome."""
    return [
        {**log, "step": target["step"], "name": target["name"], "log": log["state"], "agrees": _AGREES[log["agrees"]]}
        | {"missing": "; ".join(word for word in (log["missing_words"], log["fetch"]) if word) or None}
        for target in targets
        for log in target["logs"]
        if log["records"] or log["missing"] or log["outcome_digest"]
    ]


def _as_json_line(line: Json) -> None:
    click.echo(json.dumps(line, ensure_ascii=False))

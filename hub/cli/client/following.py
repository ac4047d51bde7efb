"""Follows a task: prints its lines as they come and ends with it; an interrupted command leaves the task alone."""

import sys
import time
from collections.abc import Callable

import click

from hub.cli.client.hub_api import HubApi, Json
from hub.cli.client.printing import plain
from hub.cli.ending import CommandFailed, Status

ENDED = frozenset({"succeeded", "failed", "cancelled", "unknown"})
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 0.5


def follow(
    hub: HubApi, task: str, *, timeout_s: float | None = None, show: Callable[[Json], None] | None = None
) -> Json:
    """Print every line until the task has ended, and why it waits while it does; returns the task.

    Raises:
        CommandFailed: Time is up (the task goes on).
    """
    deadline = time.monotonic() + timeout_s if timeout_s else None
    after, pause_s, told = 0, _FIRST_PAUSE_S, ""
    try:
        while True:
            # The state is asked for before the lines: an ended task then has no line that we miss.
            found = hub.get(f"/tasks/{task}")
            told = _print_why(found, told)
            fresh = _print_new(hub, task, after, show or print_line)
            if fresh is not None:
                after, pause_s = fresh, _FIRST_PAUSE_S
            elif found["state"] in ENDED:
                return found
            if deadline is not None and time.monotonic() > deadline:
                raise CommandFailed(f"time is up; task {task} goes on: manyarm task logs -f {task}", Status.TIMED_OUT)
            if fresh is None:
                time.sleep(pause_s)
                pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
    except KeyboardInterrupt:
        click.echo(f"\nleft; task {task} goes on. To end it: manyarm task cancel {task}", err=True)
        raise SystemExit(int(Status.INTERRUPTED)) from None


def end_with(task: Json) -> None:
    """End the command as the task ended."""
    if task["state"] != "succeeded":
        why = task.get("failure") or task.get("waiting_for") or ""
        raise CommandFailed(f"task {task['id']} {task['state']}{': ' + plain(why) if why else ''}", Status.TASK_FAILED)


def print_line(line: Json) -> None:
    target = f"{line['target']} | " if line.get("target") else ""
    out = sys.stderr if line["level"] in {"warning", "error"} else sys.stdout
    click.echo(f"{target}{plain(line['text'])}", file=out)


def _print_why(found: Json, told: str) -> str:
    """Say what it waits for, where that was not said yet; returns what was said last."""
    why = str(found.get("waiting_for") or "")
    if why and why != told:
        click.echo(plain(why), err=True)
    return why


def _print_new(hub: HubApi, task: str, after: int, show: Callable[[Json], None]) -> int | None:
    page = hub.get(f"/tasks/{task}/log", after=after, limit=1000)
    for line in page["items"]:
        show(line)
    return int(page["items"][-1]["seq"]) if page["items"] else None

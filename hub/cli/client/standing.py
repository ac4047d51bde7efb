"""Where in the queue a new task stands: the options of the commands that begin one."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

PRIORITIES = ("low", "normal", "high", "urgent")

C = TypeVar("C", bound=Callable[..., Any])


def with_standing(command: C) -> C:
    """Give a command `--priority` and `--parent`."""
    priority = click.option(
        "--priority", type=click.Choice(PRIORITIES), help="Within its project; urgent goes before other projects."
    )
    parent = click.option(
        "--parent", metavar="TASK", help="The task that waits for this one, which then begins in its place."
    )
    return priority(parent(command))


def standing(priority: str | None, parent: str | None) -> dict[str, str]:
    """What of it the body says."""
    return {name: word for name, word in (("priority", priority), ("parent", parent)) if word}

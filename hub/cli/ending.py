"""How a command ends: its exit status, the same for every command, and one sentence for people on standard error."""

from enum import IntEnum

import click


class Status(IntEnum):
    """What a script may rely on."""

    DONE = 0
    TASK_FAILED = 1
    USAGE = 2
    NOT_ALLOWED = 3
    NOT_FOUND = 4
    UNREACHABLE = 5
    TIMED_OUT = 6
    INTERRUPTED = 130


class CommandFailed(click.ClickException):
    """Ends the command with a sentence and a status."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.exit_code = int(status)  # type: ignore[misc]  # click reads it from the instance as well.

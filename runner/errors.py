"""What can go wrong while a job is done, and with what words.

RunnerError
├── FolderRefused       a job folder cannot be used: no job in it, or another supervisor had it
├── StepUnknown         no step kind, language or file format has this name
├── StepFailed          a convention could not do its work; the message says what was expected and found
│   └── ScriptFailed    a script ended with an exit code other than 0
└── SpoolFull           the disk holding the job folder is full
"""

from __future__ import annotations


class RunnerError(Exception):
    """Anything that ends a job and that a person can act on."""


class FolderRefused(RunnerError):
    """The job folder cannot be used."""


class StepUnknown(RunnerError):
    """The catalogue has no such entry."""


class StepFailed(RunnerError):
    """A convention could not do its work."""

    exit_code: int | None = None


class ScriptFailed(StepFailed):
    """A script ended with an exit code other than 0."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


class SpoolFull(RunnerError):
    """No byte more can be written to the spool."""

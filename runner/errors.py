"""What can go wrong while a job is done, and with what words.

RunnerError
├── NotAJob             a job that a person wrote cannot be read; the message names file, field and what was expected
├── FolderRefused       a job folder cannot be used: no job in it, or another supervisor had it
├── StepUnknown         no step kind, language or file format has this name
├── StepFailed          a convention could not do its work; the message says what was expected and found
│   ├── FileMalformed   a configuration file is not written as its format demands; it names the line
│   └── ScriptFailed    a script ended with an exit code other than 0
├── NoGoodAnswer        a request over HTTP got no answer, or not the one that was expected; it may be asked again
└── SpoolFull           the disk holding the job folder is full
JobStopped              no error: the job is ended from outside, and its worker may put back what it changed
"""

from __future__ import annotations


class RunnerError(Exception):
    """Anything that ends a job and that a person can act on."""


class NotAJob(RunnerError):
    """What a person wrote is no job; the message names the file, the field, and what was expected."""


class FolderRefused(RunnerError):
    """The job folder cannot be used."""


class StepUnknown(RunnerError):
    """The catalogue has no such entry."""


class StepFailed(RunnerError):
    """A convention could not do its work."""

    exit_code: int | None = None


class FileMalformed(StepFailed):
    """A configuration file is not written as its format demands; `line` counts from 1 and is 0 where none is known."""

    def __init__(self, sentence: str, line: int = 0) -> None:
        super().__init__(sentence)
        self.line = line


class ScriptFailed(StepFailed):
    """A script ended with an exit code other than 0."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


class NoGoodAnswer(RunnerError):
    """A request over HTTP got no answer, or not the one that was expected; `read` is what came of its body."""

    def __init__(self, sentence: str, read: bytes = b"") -> None:
        super().__init__(sentence)
        self.read = read


class SpoolFull(RunnerError):
    """No byte more can be written to the spool."""


class JobStopped(BaseException):
    """The job is ended from outside; it passes by whoever handles errors, as KeyboardInterrupt does."""

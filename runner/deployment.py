"""One job while it runs: what its conventions read, and what they leave for those after them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Type, TypeVar

from runner.channel import WorkerChannel
from runner.contract.job import Job
from runner.contract.spool import Stream
from runner.errors import StepFailed
from runner.job_folder import JobFile, JobFolder
from runner.job_variables import JobVariables
from runner.scripts import ScriptRunner

_Kept = TypeVar("_Kept")


@dataclass
class RunningDeployment:
    """`properties` are checked and have their defaults; `root` and `release` are set once the package lies there,
    `previous_release` once `current` moved away from it (empty where there was none).
    """

    folder: JobFolder
    job_file: JobFile
    variables: JobVariables
    channel: WorkerChannel
    scripts: ScriptRunner
    properties: Dict[str, Any] = field(default_factory=dict)
    kept: Dict[type, object] = field(default_factory=dict)
    root: Path | None = None
    release: Path | None = None
    previous_release: str | None = None

    @property
    def job(self) -> Job:
        return self.job_file.job

    @property
    def release_folder(self) -> Path:
        """Where the package was extracted to."""
        if self.release is None:
            raise StepFailed("the package is not extracted yet")
        return self.release

    def keep(self, what: object) -> None:
        """Remember something of a kind's own, one of each class: for the conventions after this one, and for rollbacks."""
        self.kept[type(what)] = what

    def recall(self, kind: Type[_Kept]) -> _Kept | None:
        """What was kept of this class; None where nothing was."""
        found = self.kept.get(kind)
        return found if isinstance(found, kind) else None

    def text(self, name: str) -> str:
        """A property of type text, expanded; empty where it is not set."""
        value = self.properties[name]
        return self.variables.expand(value, f"property {name}") if value else ""

    def set_variable(self, name: str, value: str) -> None:
        """A value that scripts and files after this may ask for."""
        self.variables.set(name, value)
        self.channel.variable(name, value)

    def say(self, text: str) -> None:
        self.channel.say(Stream.INFO, text)

    def warn(self, text: str) -> None:
        self.channel.say(Stream.WARNING, text)

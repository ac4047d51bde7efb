"""One job while it runs: what its conventions read, and what they leave for those after them."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Tuple, Type, TypeVar

from runner.channel import WorkerChannel
from runner.contract.job import Job, JobPackage
from runner.contract.spool import Stream
from runner.errors import StepFailed
from runner.job_folder import JobFile, JobFolder
from runner.job_variables import JobVariables
from runner.scripts import ScriptRunner

_Kept = TypeVar("_Kept")


@dataclass
class RunningDeployment:
    """`properties` are checked and have their defaults.

    Args:
        digest: What tells these properties and values from others, without telling them.
        root: Where `current` is, and `releases` where releases of the package lie; no other job deploys there until the
            end.
        release: Where the package lies, once it does; its files are `package_files` by their relative names, and
            the job `made_by` put it there.
        swapped: The directory with a fixed name that the release is being copied to, and the folders that were made
            for it.
        installed: The same once the copy is there.
        previous_release: What `current` pointed to before it was moved; empty where there was none.
        is_done: Nothing more is to be done: what is asked for is there already.
        until_the_end: What is let go of when the step is over.
    """

    folder: JobFolder
    job_file: JobFile
    variables: JobVariables
    channel: WorkerChannel
    scripts: ScriptRunner
    properties: Dict[str, Any] = field(default_factory=dict)
    kept: Dict[type, object] = field(default_factory=dict)
    digest: str = ""
    root: Path | None = None
    releases: Path | None = None
    release: Path | None = None
    package_files: Tuple[str, ...] = ()
    made_by: str = ""
    swapped: Tuple[Path, ...] = ()
    installed: Path | None = None
    previous_release: str | None = None
    is_done: bool = False
    until_the_end: ExitStack = field(default_factory=ExitStack)

    @property
    def job(self) -> Job:
        return self.job_file.job

    @property
    def home(self) -> Path:
        return Path(self.job_file.home)

    @property
    def package(self) -> JobPackage:
        if self.job.package is None:
            raise StepFailed("a step of this kind needs a package, and the job has none")
        return self.job.package

    @property
    def package_file(self) -> Path:
        """The package as it came to this machine; it does not come in a switch."""
        source = self.job_file.packages.get(self.package.manifest_id)
        if source is None:
            raise StepFailed(f"the package {self.package.id} {self.package.version} did not come with the job")
        return Path(source)

    @property
    def release_folder(self) -> Path:
        """Where the package was extracted to."""
        if self.release is None:
            raise StepFailed("the package is not extracted yet")
        return self.release

    @property
    def script_folder(self) -> Path:
        """Where the step's scripts run: the directory with a fixed name, else the release, else the job's own."""
        return self.installed or self.release or self.folder.work

    def take_up(self, release: Path, made_by: str) -> None:
        """From here on this is the release that the step is about."""
        self.release, self.made_by = release, made_by
        self.set_variable("Manyarm.Package.Id", self.package.id)
        self.set_variable("Manyarm.Package.Version", self.package.version)
        self.set_variable("Manyarm.Package.ReleaseDirectory", str(release))
        self.set_installed(None)

    def set_installed(self, directory: Path | None) -> None:
        """The directory that scripts and later steps are told of; the release's own without one."""
        self.installed = directory
        path = str(directory or self.release_folder)
        self.set_variable("Manyarm.Package.InstallDirectory", path)
        self.channel.output("InstallDirectory", path)

    def keep(self, what: object) -> None:
        """Remember something of a kind's own, one of each class: for later conventions and for rollbacks."""
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

    def say_aside(self, text: str) -> None:
        """For whoever wonders why."""
        self.channel.say(Stream.VERBOSE, text)

    def warn(self, text: str) -> None:
        self.channel.say(Stream.WARNING, text)

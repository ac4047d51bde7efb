"""Running scripts: a private file, a clean environment, secrets by descriptor, and what they leave collected after."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Dict, Mapping, Tuple

from runner import bootstrap as helpers
from runner.channel import WorkerChannel
from runner.contract.spool import Stream
from runner.crash import crash_point
from runner.errors import ScriptFailed, StepFailed
from runner.first_line import LINE_MAX_BYTES, Interpreter, found, named_interpreter
from runner.job_folder import JobFile, JobFolder
from runner.job_variables import JobVariables
from runner.language import Language, Start
from runner.languages import all_languages
from runner.languages.shebang import LANGUAGE as SHEBANG

_KEPT_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER", "LOGNAME")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_COPY_BYTES = 1024 * 1024


class ScriptRunner:
    """Runs the scripts of one job, one after the other."""

    def __init__(
        self,
        folder: JobFolder,
        job_file: JobFile,
        variables: JobVariables,
        token: str,
        service: int,
        turn: Tuple[int, int],
        channel: WorkerChannel,
    ) -> None:
        self._folder = folder
        self._job_file = job_file
        self._variables = variables
        self._token = token
        self._descriptors = (service, *turn)
        self._channel = channel
        self._count = 0
        self._artifact_bytes = 0
        # What a convention gives to every script after it.
        self.offered: Dict[str, str] = {}

    @property
    def has_run(self) -> bool:
        return self._count > 0

    def run_text(self, name: str, text: str, language: Language, cwd: Path, *, strict: bool = True) -> None:
        """Run a script that somebody typed; a `#!` line in it decides before the language does.

        Raises:
            ScriptFailed: it ended with another exit code than 0, by a signal, or called `fail`.
        """
        self._check_user()
        content = text.replace("\r\n", "\n").encode("utf-8", "surrogateescape")
        language, _ = _run_by(content, language)
        extension = f".{language.extensions[0]}" if any(language.extensions[:1]) else ""
        path = self._tools() / f"{self._count + 1}-{name}{extension}"
        with _created(path) as stream:
            stream.write(content)
        self.run_file(name, path, language, cwd, strict=strict)

    def run_file(self, name: str, path: Path, language: Language, cwd: Path, *, strict: bool = True) -> None:
        """Run a script that lies in a file; the same."""
        self._check_user()
        self._count += 1
        command, environment = self._command(path, language, cwd, strict=strict)
        child = subprocess.Popen(
            command,
            cwd=cwd,
            env={**self._environment(), **environment},
            stdin=subprocess.DEVNULL,
            pass_fds=self._descriptors,
        )
        crash_point("script.started")
        code = child.wait()
        crash_point("script.over")
        self._settle(name, code)

    def _command(
        self, path: Path, language: Language, cwd: Path, *, strict: bool
    ) -> Tuple[Tuple[str, ...], Dict[str, str]]:
        """What runs a script, and what its language adds to the environment; the bootstrap lies ready."""
        tools, searched = self._tools(), self.program_environment()["PATH"]
        with path.open("rb") as stream:
            head = stream.read(LINE_MAX_BYTES)
        language, named = _run_by(head, language)
        # By its first line, since what follows a script may be an archive that it unpacks.
        if language.chokes_on_cr and head.partition(b"\n")[0].endswith(b"\r"):
            _take_out_cr(path)
            self._channel.say(Stream.INFO, f"{path.name} had line ends of Windows, which {language.name} cannot read")
        if named is None:
            start = Start(language.find(searched), (), str(tools), strict)
        else:
            there = found(named, path.name, cwd, searched)
            start = Start(there.program, there.options, str(tools), strict)
        for bootstrap in language.bootstrap:
            _offer(tools / bootstrap)
        return (*language.command(start), str(path)), language.environment(str(tools))

    def _settle(self, name: str, code: int) -> None:
        left = self._channel.script_ended()
        if left["asked_for_release"]:
            self._variables.note_release_was_asked_for()
        for output, value in left["outputs"].items():
            self._variables.set_output(output, value)
        for path, artifact in left["artifacts"]:
            self._collect(path, artifact)
        if left["failure"] is not None:
            raise ScriptFailed(left["failure"], code if code > 0 else 1)
        if code < 0:
            raise ScriptFailed(f"script {name} was ended by {_signal_name(-code)}", 128 - code)
        if code:
            raise ScriptFailed(f"script {name} ended with exit code {code}", code)

    def _tools(self) -> Path:
        tools = self._folder.work / ".manyarm"
        tools.mkdir(mode=0o700, exist_ok=True)
        return tools

    @property
    def path(self) -> str:
        """Where programs are looked for."""
        return os.environ.get("PATH", _PATH)

    def program_environment(self) -> Dict[str, str]:
        """Clean: what any program needs, and what was offered."""
        environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
        environment.setdefault("PATH", _PATH)
        environment.setdefault("HOME", self._job_file.home)
        # By it a spoke finds what a supervisor that was killed has left, whatever session and parent that has now.
        environment["MANYARM_JOB"] = self._job_file.cid
        return {**environment, **self.offered}

    def _environment(self) -> Dict[str, str]:
        """That, what scripts of ours need, and what the author exposed by name."""
        environment = self.program_environment()
        environment["MANYARM_FD"] = str(self._descriptors[0])
        environment["MANYARM_LOCK"] = f"{self._descriptors[1]} {self._descriptors[2]}"
        environment["MANYARM_TOKEN"] = self._token
        environment.update(_exposed(self._job_file.job.expose_env, self._variables))
        return environment

    def _check_user(self) -> None:
        wanted = self._job_file.run_as
        if wanted and wanted != _user_name():
            raise StepFailed(f"the step wants to run as {wanted!r}; this spoke runs jobs as {_user_name()!r} only")

    def _collect(self, source: str, name: str) -> None:
        """Copy an artifact aside, where its script can no longer change it."""
        self._folder.artifacts.mkdir(mode=0o700, exist_ok=True)
        target = self._folder.artifacts / str(len(list(self._folder.artifacts.iterdir())))
        try:
            size, digest = self._copied(source, target)
        except (OSError, StepFailed) as error:
            target.unlink(missing_ok=True)
            raise StepFailed(f"artifact {name!r} cannot be collected: {error}") from error
        self._channel.artifact({"name": name, "path": str(target), "size": size, "sha256": digest})

    def _copied(self, source: str, target: Path) -> Tuple[int, str]:
        import hashlib  # late: few scripts leave artifacts

        digest = hashlib.sha256()
        size = 0
        with os.fdopen(os.open(source, os.O_RDONLY | os.O_NONBLOCK), "rb") as reading, _created(target) as writing:
            if not stat.S_ISREG(os.fstat(reading.fileno()).st_mode):
                raise StepFailed("it is no plain file")
            piece = reading.read(_COPY_BYTES)
            while piece:
                size += len(piece)
                self._artifact_bytes += len(piece)
                if self._artifact_bytes > self._job_file.limits.disk_bytes:
                    raise StepFailed(f"artifacts may have {self._job_file.limits.disk_bytes} bytes together")
                digest.update(piece)
                writing.write(piece)
                piece = reading.read(_COPY_BYTES)
        return size, digest.hexdigest()


def _run_by(content: bytes, language: Language) -> Tuple[Language, Interpreter | None]:
    """The language of what a script's `#!` line names, which may be none of ours; without such a line the given one."""
    named = named_interpreter(content)
    if named is None or language.is_run_by(named.name):
        return language, named
    return next((known for known in all_languages() if known.is_run_by(named.name)), SHEBANG), named


def _take_out_cr(path: Path) -> None:
    """Write a script anew where it lies: it may look for files beside itself."""
    content = path.read_bytes().replace(b"\r\n", b"\n")
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW), "wb") as stream:
        stream.write(content)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        # Those for real time have no names of their own.
        return f"signal {number}"


def _offer(path: Path) -> None:
    if not path.exists():
        with _created(path, 0o700) as stream:
            stream.write(bootstrap_text(path.name))


@lru_cache(maxsize=None)
def bootstrap_text(name: str) -> bytes:
    """The functions that a language's scripts find; read once, and ahead of its job by a supervisor that stands by."""
    # Both a folder's loader and an archive's offer it; pkgutil, which asks them, would have to be imported.
    loader: Any = helpers.__loader__
    try:
        return bytes(loader.get_data(f"{helpers.__path__[0]}/{name}"))
    except OSError as error:
        raise StepFailed(f"the runner's {name} is missing") from error


def _created(path: Path, mode: int = 0o600) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode), "wb")


def _exposed(names: Tuple[str, ...], variables: JobVariables) -> Mapping[str, str]:
    """Variables that the author wants in the environment; characters that no shell takes in a name become `_`."""
    found: Dict[str, str] = {}
    for name in names:
        spelled = re.sub(r"\W", "_", name, flags=re.ASCII)
        value = variables.value(name)
        if value is None:
            raise StepFailed(f"expose_env names {name!r}, and there is no such variable")
        if not spelled or spelled[0].isdigit() or spelled.startswith("MANYARM_") or "\0" in value:
            raise StepFailed(f"expose_env: {name!r} cannot stand in an environment")
        found[spelled] = value
    return found


def _user_name() -> str:
    import pwd  # late: only a step with run_as asks

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())

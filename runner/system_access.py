"""What a step does to the machine: to its files, by its programs, as the spoke's user or, where asked, by sudo."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, List, Mapping, Sequence, Tuple

from runner.deployment import RunningDeployment
from runner.errors import StepFailed

FILE_MAX_BYTES = 4 * 1024**2
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_WORDS_KEPT = 2000


class NotEnded(StepFailed):
    """A program did not end in its time."""


@dataclass(frozen=True)
class Ran:
    """How a program ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """What it said last, fit for a sentence."""
        said = (self.err.strip() or self.out.strip())[-_WORDS_KEPT:]
        return said or f"it ended with exit code {self.code} and said nothing"


class SystemAccess:
    """Runs programs and replaces files.

    Args:
        deployment: Whose environment and private folder are used.
        sudo: Whether to become root by `sudo -n` where this user is not.
    """

    def __init__(self, deployment: RunningDeployment, *, sudo: bool = False) -> None:
        self._work = deployment.folder.work
        self._environment = {**deployment.scripts.program_environment(), "LC_ALL": "C"}
        self.path = f"{self._environment['PATH']}:{_SYSTEM_PATH}"
        self._environment["PATH"] = self.path
        self.by_sudo = sudo and os.geteuid() != 0
        self.user = user_name()

    def find(self, program: str) -> str:
        """Where a program is; empty where it is not."""
        return shutil.which(program, path=self.path) or ""

    def run(
        self,
        command: Sequence[str],
        *,
        timeout_s: float = 60.0,
        environment: Mapping[str, str] | None = None,
        pass_fds: Tuple[int, ...] = (),
        kept_bytes: int = 256 * 1024,
    ) -> Ran:
        """Run one program to its end; of what it prints, the last bytes are kept.

        Raises:
            NotEnded: in time.
            StepFailed: it cannot be started, or sudo asks for a password.
        """
        if self.by_sudo:
            command = ("sudo", "-n", "--", *command)
        with tempfile.TemporaryFile(dir=self._work) as out, tempfile.TemporaryFile(dir=self._work) as err:
            try:
                code = subprocess.run(
                    command,
                    env={**self._environment, **(environment or {})},
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    timeout=max(timeout_s, 1.0),
                    pass_fds=pass_fds,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired as error:
                raise NotEnded(f"`{_short(command)}` did not end within {timeout_s:g} seconds") from error
            except OSError as error:
                raise StepFailed(f"`{_short(command)}` cannot be started: {error.strerror}") from error
            ran = Ran(code, _last(out, kept_bytes), _last(err, kept_bytes))
        if self.by_sudo and code and "sudo: a password is required" in ran.err:
            raise StepFailed(f"sudo asks for a password: {self.sudo_line()}")
        return ran

    def sudo_line(self) -> str:
        """What a person types so that this user may act as root."""
        return (
            f"let {self.user} use it without one, by this line in /etc/sudoers.d/manyarm: "
            f"{self.user} ALL=(root) NOPASSWD: ALL"
        )

    def refusal(self, path: Path) -> StepFailed:
        """What is said where this user may not change a file."""
        return StepFailed(
            f"user {self.user} may not change {path}: let the spoke run as root, or set `sudo: true` and "
            f"{self.sudo_line()}"
        )

    def read(self, path: Path) -> bytes | None:
        """A plain file's content; None where there is none."""
        try:
            with path.open("rb") as stream:
                if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                    raise StepFailed(f"{path} is no plain file")
                content = stream.read(FILE_MAX_BYTES + 1)
        except FileNotFoundError:
            return None
        except IsADirectoryError as error:
            raise StepFailed(f"{path} is a directory, expected a file") from error
        except PermissionError as error:
            if not self.by_sudo:
                raise self.refusal(path) from error
            content = self._must("cat", "--", str(path), kept_bytes=FILE_MAX_BYTES + 1)
        if len(content) > FILE_MAX_BYTES:
            raise StepFailed(f"{path} has over {FILE_MAX_BYTES} bytes, too large for a configuration file")
        return content

    def write(self, path: Path, content: bytes, mode: int) -> None:
        """Replace a file at once; whoever reads it sees the old one or the new one."""
        part = path.with_name(f".{path.name}.manyarm-part")
        if self.by_sudo:
            with tempfile.NamedTemporaryFile(dir=self._work) as ours:
                ours.write(content)
                ours.flush()
                self._must("install", "-m", f"{mode:o}", "--", ours.name, str(part))
            self._must("mv", "-fT", "--", str(part), str(path))
            return
        try:
            part.unlink(missing_ok=True)
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                os.fchmod(stream.fileno(), mode)
                stream.flush()
                os.fsync(stream.fileno())
            part.replace(path)
        except PermissionError as error:
            raise self.refusal(path) from error
        except OSError:
            with suppress(OSError):
                part.unlink()
            raise

    def link(self, path: Path, target: str) -> None:
        """Make a symbolic link, at once, in the place of what is there."""
        part = path.with_name(f".{path.name}.manyarm-part")
        if self.by_sudo:
            self._must("ln", "-sfnT", "--", target, str(part))
            self._must("mv", "-fT", "--", str(part), str(path))
            return
        try:
            part.unlink(missing_ok=True)
            part.symlink_to(target)
            part.replace(path)
        except PermissionError as error:
            raise self.refusal(path) from error

    def remove(self, path: Path) -> None:
        """Take a file or a link away; it may be gone already."""
        if self.by_sudo:
            self._must("rm", "-f", "--", str(path))
            return
        try:
            path.unlink(missing_ok=True)
        except PermissionError as error:
            raise self.refusal(path) from error

    def make_folder(self, path: Path) -> List[Path]:
        """Make a folder and those above it; those that were made, outermost first."""
        missing: List[Path] = []
        while not path.exists():
            missing.insert(0, path)
            path = path.parent
        for folder in missing:
            if self.by_sudo:
                self._must("mkdir", "-m", "755", "--", str(folder))
                continue
            try:
                folder.mkdir(mode=0o755)
            except PermissionError as error:
                raise self.refusal(folder) from error
        return missing

    def remove_folder(self, path: Path) -> None:
        """Take an empty folder away; one that has something in it stays."""
        if self.by_sudo:
            self.run(("rmdir", "--", str(path)))
            return
        with suppress(OSError):
            path.rmdir()

    def _must(self, *command: str, kept_bytes: int = 64 * 1024) -> bytes:
        ran = self.run(command, kept_bytes=kept_bytes)
        if ran.code:
            raise StepFailed(f"`sudo {_short(command)}` failed: {ran.words}")
        return ran.out.encode("utf-8", "surrogateescape")


def user_name() -> str:
    """Who this process is, as people write it."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _short(command: Sequence[str]) -> str:
    """The program and its verb: what comes after may be long."""
    words = [word for word in command if word != "sudo" and not word.startswith("-")]
    return " ".join([os.path.basename(words[0]), *words[1:2]])  # noqa: PTH119  a word, no path of ours


def _last(stream: BinaryIO, kept_bytes: int) -> str:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - kept_bytes))
    return stream.read().decode("utf-8", "surrogateescape")

"""Starts supervisors so that they outlive this daemon, and keeps one waiting, warm, so that a job need not wait.

A supervisor gets a session of its own, no descriptor but its standard input, and an environment that names nothing of
ours. What it must know secretly comes as one line on that input, which is then closed.
"""

import contextlib
import json
import logging
import os
import secrets
import subprocess
import threading
import time
from pathlib import Path
from typing import IO

from spokes.agent.errors import CannotStart
from spokes.agent.home import SpokeHome
from wire.crash import VARIABLE, crash_point

logger = logging.getLogger(__name__)

_PASSED_ON = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", VARIABLE)
_STANDBY_AFTER_S = 0.05
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Supervisors:
    """All supervisors that this daemon has started, the waiting one included."""

    def __init__(self, home: SpokeHome, python: str, *, standby: bool) -> None:
        self._home = home
        self._python = python
        self._keeps_one = standby
        self._lock = threading.Lock()
        self._waiting: _Waiting | None = None
        self._children: list[subprocess.Popen[bytes]] = []
        self._closed = False

    def start(self, runner: Path, folder: Path, line: bytes) -> int:
        """Start the supervisor of this job folder; the line is given to it and to nobody else.

        Returns:
            A pidfd of it, which the caller closes.

        Raises:
            CannotStart: No process could be made, or it did not take its line.
        """
        waiting = self._take(runner)
        if waiting is not None and waiting.become(folder, line):
            child = waiting.child
        else:
            child = self._start_cold(runner, folder, line)
        # Opened before anybody may bury the child, so the number is still its own.
        descriptor = os.pidfd_open(child.pid)
        self._bury(child)
        self.prepare(runner)
        return descriptor

    def prepare(self, runner: Path) -> None:
        """Have one waiting for this runner, soon: it is made in the background."""
        if self._keeps_one:
            threading.Thread(target=self._make_waiting, args=(runner,), name="standby", daemon=True).start()

    def close(self) -> None:
        """End the waiting one; those at work go on."""
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.dismiss()

    def _take(self, runner: Path) -> "_Waiting | None":
        with self._lock:
            waiting = self._waiting
            if waiting is None or waiting.runner != runner:
                return None
            self._waiting = None
            return waiting

    def _start_cold(self, runner: Path, folder: Path, line: bytes) -> subprocess.Popen[bytes]:
        with (folder / "supervisor.err").open("ab") as errors:
            child = self._spawn([str(runner), "supervise", str(folder)], folder, errors)
        crash_point("supervisor.forked")
        if not _give(child, line):
            self._bury(child)
            raise CannotStart("the supervisor ended before it took its job")
        crash_point("supervisor.told")
        return child

    def _make_waiting(self, runner: Path) -> None:
        # An interpreter that starts takes a core from the job that has just begun.
        time.sleep(_STANDBY_AFTER_S)
        with self._lock:
            if self._closed or (self._waiting is not None and self._waiting.runner == runner):
                return
        errors_path = self._home.run / f"standby-{secrets.token_hex(8)}.err"
        try:
            with errors_path.open("xb") as errors:
                made = _Waiting(runner, self._spawn([str(runner), "standby"], self._home.run, errors), errors_path)
        except (OSError, CannotStart) as error:
            logger.warning("no supervisor is standing by", extra={"why": str(error)})
            return
        with self._lock:
            surplus, self._waiting = (made, self._waiting) if self._closed else (self._waiting, made)
        if surplus is not None:
            surplus.dismiss()
            self._bury(surplus.child)

    def _spawn(self, arguments: list[str], folder: Path, errors: IO[bytes]) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                [self._python, "-I", "-S", "-B", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                cwd=folder,
                env=minimal_environment(),
                start_new_session=True,
                close_fds=True,
            )
        except (OSError, ValueError) as error:
            raise CannotStart(f"{self._python} could not be started: {error}") from error

    def _bury(self, child: subprocess.Popen[bytes]) -> None:
        """Children that have ended are collected whenever another one is started."""
        with self._lock:
            self._children = [one for one in [*self._children, child] if one.poll() is None]


class _Waiting:
    """A supervisor that has imported everything and read nothing; used once."""

    def __init__(self, runner: Path, child: subprocess.Popen[bytes], errors: Path) -> None:
        self.runner = runner
        self.child = child
        self._errors = errors

    def become(self, folder: Path, line: bytes) -> bool:
        """Hand it the job; False if it has died, and then nothing was given away."""
        if self.child.poll() is not None:
            self._errors.unlink(missing_ok=True)
            return False
        with contextlib.suppress(OSError):
            self._errors.rename(folder / "supervisor.err")
        crash_point("supervisor.chosen")
        named = b'{"folder":' + json.dumps(str(folder)).encode() + b"," + line.lstrip()[1:]
        return _give(self.child, named)

    def dismiss(self) -> None:
        _close(self.child)
        self._errors.unlink(missing_ok=True)


def minimal_environment() -> dict[str, str]:
    """What a supervisor inherits of this daemon's environment."""
    found = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {"PATH": _DEFAULT_PATH, "LANG": "C.UTF-8", **found}


def _give(child: subprocess.Popen[bytes], line: bytes) -> bool:
    """A line that was taken only in part is not JSON and starts nothing."""
    pipe = child.stdin
    if pipe is None:
        return False
    try:
        pipe.write(line)
        pipe.close()
    except OSError:
        _close(child)
        return False
    return True


def _close(child: subprocess.Popen[bytes]) -> None:
    if child.stdin is not None:
        with contextlib.suppress(OSError):
            child.stdin.close()

"""nginx as a step uses it: its configuration tried as a whole, told to reload, and seen to have taken it."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import FrozenSet, List, Tuple

from runner.deployment import RunningDeployment
from runner.errors import StepFailed
from runner.process_tree import descendants
from runner.system_access import SystemAccess

LOG_LINES = 20
_LOG_BYTES = 64 * 1024
_DUMP_BYTES = 64 * 1024**2
_LOOK_EVERY_S = 0.05
_FILE = re.compile(r"^# configuration file (.+):$", re.MULTILINE)


@dataclass(frozen=True)
class Configuration:
    """A configuration that nginx accepts.

    Args:
        files: Every file that it reads.
        pid_file: Where the running nginx notes its process.
        error_log: Where it writes what is wrong; None where that is no file.
    """

    files: FrozenSet[str]
    pid_file: Path
    error_log: Path | None


class Nginx:
    """One nginx: the machine's, or one with a configuration of its own."""

    def __init__(self, deployment: RunningDeployment, access: SystemAccess) -> None:
        self._access = access
        given = deployment.text("nginx")
        self.program = access.find(given or "nginx")
        if not self.program:
            raise StepFailed(
                f"nginx is not installed on this machine: no program {given or 'nginx'!r} in {access.path}"
            )
        self._options = _options(deployment)
        self._built = self._built_with()
        self._systemctl = deployment.properties["reload_with"] == "systemctl"

    def configuration(self) -> Tuple[Configuration | None, str]:
        """What nginx reads; None, and what it says, where it does not accept it (`nginx -T`)."""
        ran = self._access.run((self.program, *self._options, "-T"), kept_bytes=_DUMP_BYTES)
        if ran.code:
            return None, _faults(ran.err) or ran.words
        files = frozenset(_FILE.findall(ran.out))
        return Configuration(files, self._pid_file(ran.out), self._error_log(ran.out)), ""

    def workers(self, configuration: Configuration) -> FrozenSet[int]:
        """The processes that answer requests now, those on their way out left aside.

        Raises:
            StepFailed: nginx does not run.
        """
        main = self._main_process(configuration)
        found = (process.pid for process in descendants(main) if process.parent == main and not process.is_zombie)
        return frozenset(pid for pid in found if _title(pid).startswith("nginx: worker process") and _is_staying(pid))

    def reload(self) -> None:
        """Tell the running nginx to read its configuration; it does so a moment later."""
        if self._systemctl:
            ran = self._access.run(("systemctl", "--no-ask-password", "reload", "nginx"))
        else:
            ran = self._access.run((self.program, *self._options, "-s", "reload"))
        if ran.code:
            raise StepFailed(f"nginx cannot be told to reload: {_faults(ran.err) or ran.words}")

    def wait_for_others(self, configuration: Configuration, before: FrozenSet[int], wait_s: float) -> bool:
        """Whether workers came in the place of all those before: only a configuration that was taken starts some.

        Those before may go on for the connections that they hold, but take no new ones.
        """
        deadline = time.monotonic() + wait_s
        while True:
            now = self.workers(configuration)
            if now and not now & before:
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_EVERY_S)

    def log_since(self, log: Path | None, size: int) -> List[str]:
        """The error log's last lines behind its former size."""
        if log is None:
            return []
        with suppress(OSError), log.open("rb") as stream:
            stream.seek(max(size, stream.seek(0, os.SEEK_END) - _LOG_BYTES))
            return stream.read().decode("utf-8", "replace").splitlines()[-LOG_LINES:]
        return []

    def _main_process(self, configuration: Configuration) -> int:
        try:
            pid = int(configuration.pid_file.read_text("ascii"))
        except (OSError, ValueError):
            pid = 0
        if not _title(pid).startswith("nginx: master process"):
            raise StepFailed(
                f"nginx does not run ({configuration.pid_file} names no process of it): `systemctl start nginx`"
            )
        return pid

    def _built_with(self) -> str:
        return self._access.run((self.program, "-V")).err

    def _pid_file(self, dump: str) -> Path:
        named = re.search(r"^\s*pid\s+([^;\s]+)\s*;", dump, re.MULTILINE)
        return self._path(named.group(1) if named else self._built_value("pid-path", "logs/nginx.pid"))

    def _error_log(self, dump: str) -> Path | None:
        named = re.search(r"^\s*error_log\s+([^;\s]+)", dump, re.MULTILINE)
        found = named.group(1) if named else self._built_value("error-log-path", "logs/error.log")
        return None if found in ("stderr", "off") or ":" in found else self._path(found)

    def _path(self, text: str) -> Path:
        given = [word for option, word in zip(self._options[::2], self._options[1::2]) if option == "-p"]
        return Path(given[0] if given else self._built_value("prefix", "/usr/local/nginx"), text.strip("\"'"))

    def _built_value(self, name: str, default: str) -> str:
        found = re.search(rf"--{name}=(\S+)", self._built)
        return found.group(1) if found else default


def started_at(pid: int) -> float:
    """When a process began, in seconds of the wall clock; 0.0 where it is gone."""
    with suppress(OSError, ValueError, IndexError):
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        ticks = int(stat[stat.rindex(b")") + 2 :].split()[19])
        running_s = float(Path("/proc/uptime").read_text("ascii").split()[0]) - ticks / os.sysconf("SC_CLK_TCK")
        return time.time() - running_s
    return 0.0


def _options(deployment: RunningDeployment) -> Tuple[str, ...]:
    found: List[str] = []
    for option, name in (("-p", "prefix"), ("-c", "nginx_config")):
        given = deployment.text(name)
        if given and (not given.startswith("/") or ".." in given.split("/")):
            raise StepFailed(f"property {name}: expected an absolute path without '..', found {given!r}")
        found += [option, given] if given else []
    return tuple(found)


def _title(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    return ""


def _is_staying(pid: int) -> bool:
    return "is shutting down" not in _title(pid)


def _faults(err: str) -> str:
    """What nginx says is wrong, without what it says of itself."""
    return "; ".join(line for line in err.splitlines() if "[emerg]" in line or "[alert]" in line)

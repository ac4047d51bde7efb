"""The stage of the demo: its folders, its ports, and the processes on it, each started and ended by the demo itself."""

import contextlib
import getpass
import itertools
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from config.settings import LOCAL_HOMES
from hub.broker.process import ProcessMark, is_alive, mark, wait_gone

_WANTED = {
    "portal": 8080,
    "gateway": 8443,
    "broker": 5673,
    "listening": 10933,
    "ssh": 10022,
    **{
        f"DEMO_PORT_{environment}_{role}": 18101 + number
        for number, (environment, role) in enumerate(
            itertools.product(("DEVELOPMENT", "PRODUCTION"), ("NORTH", "EAST", "SOUTH", "WEST"))
        )
    },
}
_STOP_S = 20.0


class StageFailed(Exception):
    """The demo cannot go on; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Folders and ports; what was chosen once is kept for the next run.

    `local_home` is where the spoke beside the hub lives: as a user of its own, if root plays the demo.
    """

    folder: Path
    ports: Mapping[str, int]
    local_home: Path

    @classmethod
    def set_up(cls, folder: Path, sample: str) -> "Stage":
        """The stage of the last run of the same sample, or a new one on free ports.

        What a killed run has left is ended first.
        """
        folder.mkdir(parents=True, exist_ok=True)
        end_leftovers(folder)
        _make_room(folder, sample)
        file = folder / "ports.json"
        known = json.loads(file.read_text()) if file.exists() else {}
        ports: dict[str, int] = {}
        for name, wanted in _WANTED.items():
            ports[name] = _free(int(known.get(name, wanted)), taken=set(ports.values()))
        file.write_text(json.dumps(ports, indent=1))
        return cls(folder, ports, _local_home(folder))

    @property
    def hub_home(self) -> Path:
        return self.folder / "hub"

    def spoke_home(self, name: str) -> Path:
        return self.folder / name

    @property
    def portal(self) -> str:
        return f"http://127.0.0.1:{self.ports['portal']}"

    def environ(self, api_key: str = "") -> dict[str, str]:
        """What every command of the demo sees."""
        found = {
            **os.environ,
            "MANYARM_HOME": str(self.hub_home),
            "MANYARM_PORTAL_BIND": f"127.0.0.1:{self.ports['portal']}",
            "MANYARM_GATEWAY_BIND": f"127.0.0.1:{self.ports['gateway']}",
            "MANYARM_BROKER_BIND": f"127.0.0.1:{self.ports['broker']}",
            "MANYARM_URL": self.portal,
            "MANYARM_API_KEY": api_key,
            "NO_PROXY": "127.0.0.1,localhost",
            # Every target of the demo is this very machine.
            "MANYARM_ALLOW_INNER_TARGETS": "true",
            "MANYARM_LOCAL_HOME": str(self.local_home),
            "DEMO_TOKEN": "a-token-that-only-the-demo-knows",
            "DEMO_SSH_USER": getpass.getuser(),
            "DEMO_SSH_KEY": str(self.folder / "ssh" / "client"),
            **{
                f"DEMO_PORTS_{environment}": " ".join(
                    str(port) for name, port in self.ports.items() if name.startswith(f"DEMO_PORT_{environment}_")
                )
                for environment in ("DEVELOPMENT", "PRODUCTION")
            },
            **{name: str(port) for name, port in self.ports.items() if name.startswith("DEMO_")},
        }
        return found if api_key else {name: value for name, value in found.items() if name != "MANYARM_API_KEY"}


class Processes:
    """What the demo started, ended in reverse; a file says which they are, in case the demo itself is killed."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        log = self._stage.folder / f"{name}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [_program(command[0]), *command[1:]],
                env=self._stage.environ(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self._running.append((name, process))
        marks = [asdict(mark(running.pid)) for _, running in self._running]
        (self._stage.folder / "running.json").write_text(json.dumps(marks))
        return process

    def log(self, name: str) -> str:
        return (self._stage.folder / f"{name}.log").read_text(errors="replace")

    def last_words(self, name: str) -> str:
        lines = self.log(name).strip().splitlines()
        return lines[-1] if lines else "nothing"

    def stop_all(self) -> None:
        for _, process in reversed(self._running):
            if process.poll() is None:
                process.terminate()
        for _, process in reversed(self._running):
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()
        end_applications(self._stage.folder)
        (self._stage.folder / "running.json").unlink(missing_ok=True)


def _make_room(folder: Path, sample: str) -> None:
    """Start anew where the last run played with another sample."""
    known = folder / "sample"
    if (folder / "hub").exists() and not (known.exists() and known.read_text() == sample):
        print("The sample application is another one than in the last demo: starting anew")
        shutil.rmtree(_local_home(folder), ignore_errors=True)
        shutil.rmtree(folder)
        folder.mkdir()
    known.write_text(sample)


def _local_home(folder: Path) -> Path:
    """Root's demo keeps it where the spoke's own user can reach it, whoever owns the folders above the checkout."""
    if os.geteuid() != 0:
        return folder / "local"
    file = folder / "local-home"
    if not file.exists():
        file.write_text(str(LOCAL_HOMES / f"demo-{secrets.token_hex(4)}"))
    return Path(file.read_text())


def _program(name: str) -> str:
    """One of ours, unless it is a whole path."""
    return name if name.startswith("/") else str(Path(sys.executable).parent / name)


def end_leftovers(folder: Path) -> None:
    """End what a killed demo has left, and nobody else's process."""
    with contextlib.suppress(FileNotFoundError, ValueError, TypeError):
        for fields in json.loads((folder / "running.json").read_text()):
            known = ProcessMark(**fields)
            if is_alive(known):
                os.kill(known.pid, signal.SIGTERM)
                wait_gone(known, _STOP_S)
    end_applications(folder)


def end_applications(folder: Path) -> None:
    """The sample applications that deployments have started: known by their pid file and their command line."""
    for file in (
        *folder.glob("*/sites/*/storefront/storefront.pid"),
        *_local_home(folder).glob("sites/*/storefront/storefront.pid"),
    ):
        with contextlib.suppress(OSError, ValueError):
            pid = int(file.read_text())
            if str(file.parent) in Path(f"/proc/{pid}/cmdline").read_text():
                os.kill(pid, signal.SIGTERM)
        file.unlink(missing_ok=True)


def _free(wanted: int, taken: set[int]) -> int:
    """The port wanted, or the next one that nobody listens on."""
    for port in range(wanted, wanted + 200):
        if port in taken:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise StageFailed(f"no free port from {wanted} to {wanted + 199}: end what listens there (ss -ltnp)")


def wait_until(true: object, words: str, limit_s: float) -> None:
    """Wait for a condition.

    Raises:
        StageFailed: It did not come true in time.
    """
    assert callable(true)
    end = time.monotonic() + limit_s
    while not true():
        if time.monotonic() > end:
            raise StageFailed(words)
        time.sleep(0.1)

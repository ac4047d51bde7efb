"""What a soak works on: a hub, one target of each kind it wants, many light ones, and doors in which networks go wrong.

real spokes, light spokes  →  proxy  →  broker
                           →  proxy  →  gateway
"""

import contextlib
import json
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

from hub.broker.process import ProcessMark, is_alive
from tests.chaos.light import enrol
from tests.chaos.proxy import FaultProxy, proxied
from tests.chaos.witness import Witness
from tests.conformance.world import HOUSE, KINDS, Conformance
from tests.flow.conftest import archive
from tests.services.whole import until

PROJECT = "soak"
VERSIONS = ("1.0.0", "1.1.0")
_DISK = "4g"
_DEPLOY = """#!/bin/bash
echo "start $MANYARM_JOB" >> {witness}
for i in 1 2 3; do echo "line $i of $MANYARM_JOB"; done
echo "end $MANYARM_JOB" >> {witness}
"""


class Fleet(Conformance):
    """Targets: one of each kind of `real`, named after it, and `light` ones, `light-00` and so on.

    Args:
        folder: For everything that it writes.
        doors: Before the broker and before the gateway.
        real: Kinds.
        light: How many.
        a_process: So many light spokes share a process.
        light_bytes: How long each spool of theirs is, about.
        heartbeat_s: Of every spoke.
    """

    def __init__(
        self,
        folder: Path,
        doors: tuple[FaultProxy, FaultProxy],
        *,
        real: Sequence[str] = KINDS,
        light: int = 0,
        a_process: int = 10,
        light_bytes: int = 0,
        heartbeat_s: int = 2,
    ) -> None:
        super().__init__(folder)
        self.kinds = tuple(real)
        house = [name for name in HOUSE if name in real or (name == "relay" and "listening" in real)]
        self.broker_door, self.gateway_door = doors
        self.environ |= {
            "MANYARM_LIMIT_HEARTBEAT_S": str(heartbeat_s),
            "MANYARM_HOUSE_SPOKES": ",".join(house),
            "MANYARM_BROKER_PUBLIC": f"127.0.0.1:{self.broker_door.port}",
            "MANYARM_PUBLIC_NAME": f"127.0.0.1:{self.gateway_door.port}",
        }
        self.house = tuple(house)
        self.broker_door.target = _port(self.environ["MANYARM_BROKER_BIND"])
        self.gateway_door.target = _port(self.environ["MANYARM_GATEWAY_BIND"])
        self.witness = Witness(self.shared / "witness")
        self.witness.make()
        self._light = light
        self._a_process = a_process
        self._light_bytes = light_bytes
        self.light_groups: dict[str, tuple[str, ...]] = {}

    # Beginning and end

    def fill(self) -> None:
        super().fill()
        self._fill_light()
        if self.kinds:
            self._fill_project()

    def _add_polling(self) -> None:
        """On a small file system of its own, where we may mount one: that can be filled."""
        home = self.spoke_home("polling")
        home.mkdir(mode=0o700)
        self.give_room(f"size={_DISK},mode=700")
        super()._add_polling()

    def give_room(self, options: str = f"remount,size={_DISK}") -> None:
        """How large the polling spoke's file system is; a smaller one is full."""
        mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.spoke_home("polling"))]
        with contextlib.suppress(FileNotFoundError):
            subprocess.run(mount, capture_output=True, check=False)

    def stop(self) -> None:
        """Whatever is stopped or ill-treated goes on first: it could not leave else."""
        for door in (self.broker_door, self.gateway_door):
            door.heal()
        for process in self.processes().values():
            with contextlib.suppress(psutil.Error):
                process.resume()
        super().stop()
        home = self.spoke_home("polling")
        if home.is_mount():
            subprocess.run(["umount", "-l", str(home)], capture_output=True, check=False)

    def _fill_light(self) -> None:
        names = [f"light-{number:02}" for number in range(self._light)]
        for first in range(0, len(names), self._a_process):
            group = names[first : first + self._a_process]
            made = [self._join_code() for _ in group]
            name = f"lights-{first // self._a_process}"
            enrol(self.folder / name, zip(group, made, strict=True))
            self.light_groups[name] = tuple(group)
            self.start(name)
        until(lambda: not self.unhealthy(), lambda: f"not healthy: {self.unhealthy()[:9]}", 600)

    def _join_code(self) -> str:
        words = ["--role", "light", "--environment", "Here", "--environment", "There"]
        return str(self.json("join-code", "create", *words, "--auto-approve", "--json")["code"])

    def _fill_project(self) -> None:
        """A deployment of a package to all real targets, whose script is the witness, and a script after it."""
        for version in VERSIONS:
            file = self.folder / f"{PROJECT}.{version}.tar"
            script = _DEPLOY.format(witness=self.witness.path)
            archive(file, {"Deploy.sh": script, "version.txt": version, "content.bin": version.encode() * 50_000})
            self.manyarm("package", "push", str(file))
        install = {"name": "Install", "kind": "deploy-package", "roles": list(self.kinds), "package": PROJECT}
        self._apply_project(PROJECT, [{**install, "rolling": "100%"}])
        for version in VERSIONS:
            self.manyarm("release", "create", PROJECT, "--version", version)

    def project_of_package(self, name: str, role: str) -> None:
        """A project that deploys the package of that name and prints the SHA-256 of its `content.bin`; release 1.0.0."""
        output = f"Manyarm.Step[Install].Output[{role}].InstallDirectory"
        script = f'cd "$(get_variable \'{output}\')"; echo "sum $(sha256sum < content.bin)"'
        steps = [
            {"name": "Install", "kind": "deploy-package", "roles": [role], "package": name},
            {"name": "Look", "kind": "run-script", "roles": [role], "shell": "bash", "script": script},
        ]
        self._apply_project(name, steps)
        self.manyarm("release", "create", name, "--version", "1.0.0")

    def _apply_project(self, name: str, steps: list[dict[str, Any]]) -> None:
        documents = [
            {"kind": "Lifecycle", "name": PROJECT, "phases": [{"name": "All", "environments": ["Here", "There"]}]},
            {"kind": "Project", "name": name, "lifecycle": PROJECT, "process": steps},
        ]
        file = self.folder / f"{name}.yaml"
        file.write_text("\n---\n".join(json.dumps(document) for document in documents))
        self.manyarm("apply", "-f", str(file))

    # Processes

    def start(self, name: str = "") -> None:
        """Everything of the hub, or one process by its name; nobody waits for the latter."""
        if not name:
            super().start()
        elif name == "up":
            (self.folder / "up.log").write_text("")
            self._up = self._process("up", "manyarm", "up")
        elif name in self.light_groups:
            self._spokes[name] = self._light_process(name)
        else:
            self._spokes[name] = self._process(name, "manyarm-spoke", "--home", str(self.spoke_home(name)), "run")

    def _light_process(self, name: str) -> "subprocess.Popen[bytes]":
        words = [sys.executable, "-m", "tests.chaos.light", str(self.folder / name), str(self.witness.path)]
        words += [str(self._light_bytes)]
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(words, env=self.environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all targets."""
        return (*self.kinds, *(name for group in self.light_groups.values() for name in group))

    def processes(self) -> dict[str, psutil.Process]:
        """What runs now, by name: parts of the hub, its broker, spokes."""
        marks: dict[str, dict[str, Any]] = {}
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
            state = json.loads((self.home / "run" / "state.json").read_text())
            marks |= state["parts"]
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
            marks["broker"] = json.loads((self.home / "broker" / "node.json").read_text())["mark"]
        # What a file says may be long gone, and its number a stranger's.
        pids = {name: int(mark["pid"]) for name, mark in marks.items() if is_alive(ProcessMark(**mark))}
        pids |= {name: process.pid for name, process in self._spokes.items()}
        if self._up is not None:
            pids["up"] = self._up.pid
        found = {}
        for name, pid in pids.items():
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                if process.status() != psutil.STATUS_ZOMBIE:
                    found[name] = process
        return found

    def start_what_is_down(self) -> None:
        """Of those that `manyarm up` does not watch."""
        for name, process in [*self._spokes.items()]:
            if process.poll() is not None:
                self.start(name)
        if self._up is not None and self._up.poll() is not None:
            self.start("up")

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What the hub's database says, read from outside."""
        with contextlib.closing(reader(self.home / "manyarm.db")) as rows:
            return list(rows.execute(query, values))

    def broker_says(self, words: str) -> int:
        """How often these words stand in the broker's log."""
        logs = (self.home / "broker" / "log").glob("*")
        return sum(log.read_text(errors="replace").count(words) for log in logs if log.is_file())

    def owners(self, target: str) -> set[str]:
        """The processes that carry a target's work: what is done to them explains what became of its jobs."""
        everybody = {"hub", "broker", "up", "doors"}
        group = next((name for name, names in self.light_groups.items() if target in names), target)
        return everybody | {group} | ({"relay"} if target == "listening" else set())

    def until_whole(self) -> None:
        """Everybody is at work again; whoever ends for good is started, as a machine's own daemon would."""

        def ready() -> bool:
            self.start_what_is_down()
            return "Ready." in (self.folder / "up.log").read_text()

        until(ready, "the hub does not come back", 240)
        until(self._answers, "the portal does not come back", 120)
        until(lambda: not self.unhealthy(), lambda: f"not healthy: {self.unhealthy()}", 240)

    def unhealthy(self) -> list[str]:
        """Which of our targets are not well, by the hub's rows."""
        rows = self.rows("SELECT name FROM target WHERE health = 'healthy'")
        return sorted(set(self.names) - {str(name) for (name,) in rows})

    def _answers(self) -> bool:
        try:
            return bool(self.call("GET", "/targets"))
        except (AssertionError, OSError):
            return False


@contextmanager
def fleet(
    *, real: Sequence[str], light: int, a_process: int = 10, light_bytes: int = 0, heartbeat_s: int = 2
) -> Iterator[Fleet]:
    """A fleet at work, stopped and removed at the end."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="manyarm-soak-", ignore_cleanup_errors=True))
        doors = stack.enter_context(proxied(0)), stack.enter_context(proxied(0))
        made = Fleet(
            Path(folder),
            doors,
            real=real,
            light=light,
            a_process=a_process,
            light_bytes=light_bytes,
            heartbeat_s=heartbeat_s,
        )
        stack.callback(made.stop)
        made.install()
        made.start()
        made.fill()
        yield made


def reader(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=30)


def _port(bind: str) -> int:
    return int(bind.rpartition(":")[2])

"""A whole Manyarm on real parts: `manyarm up` in a home of its own, spokes as processes, commands typed as people do."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.services import warm
from tests.services.ports import free_ports
from tests.services.requires import requires

BIN = Path(sys.executable).parent
READY_S = 90


def until(true: Callable[[], Any], words: str | Callable[[], str], limit_s: float = 60) -> Any:
    """What `true` gives as soon as it is something; the limit only ends a test that hangs."""
    end = time.monotonic() + limit_s
    pause_s = 0.02
    while not (found := true()):
        assert time.monotonic() < end, words() if callable(words) else words
        time.sleep(pause_s)
        # Whoever asks all the time takes the processor from what he waits for.
        pause_s = min(pause_s * 1.3, 0.25)
    return found


class Whole:
    """One hub and its spokes, each a real process that this object started."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.folder = folder
        self.home = folder / "hub"
        portal, gateway, broker = free_ports(3)
        self.url = f"http://127.0.0.1:{portal}"
        self._reachable: Path | None = None
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MANYARM_")},
            "MANYARM_HOME": str(self.home),
            "MANYARM_PORTAL_BIND": f"127.0.0.1:{portal}",
            "MANYARM_GATEWAY_BIND": f"127.0.0.1:{gateway}",
            "MANYARM_BROKER_BIND": f"127.0.0.1:{broker}",
            "MANYARM_URL": self.url,
            "XDG_CONFIG_HOME": str(folder / "config"),
            "NO_PROXY": "127.0.0.1",
            "MANYARM_HOUSE_SPOKES": "",
            **environ,
        }
        self._up: subprocess.Popen[bytes] | None = None
        self._spokes: dict[str, subprocess.Popen[bytes]] = {}

    # The hub

    def install(self) -> None:
        self.manyarm("init")

    def start(self) -> None:
        if os.geteuid() == 0 and self.environ["MANYARM_HOUSE_SPOKES"] and self._reachable is None:
            # The local spoke becomes a user who may not pass our folders.
            self._reachable = Path(tempfile.mkdtemp(prefix="manyarm-test-"))
            self._reachable.chmod(0o711)
            self.environ["MANYARM_LOCAL_HOME"] = str(self._reachable / "local")
        # What a former one has said counts no more.
        (self.folder / "up.log").write_bytes(b"")
        self._up = self._process("up", "manyarm", "up")
        until(self._is_ready, lambda: f"not ready: {self._words('up')}", READY_S)
        if "MANYARM_API_KEY" not in self.environ:
            self.manyarm("user", "add", "tester", given="six words that nobody ever guesses\n")
            self.environ["MANYARM_API_KEY"] = self.manyarm("user", "api-key", "tester").strip()

    def stop(self, *, for_good: bool = True) -> None:
        for name in list(self._spokes):
            self.stop_spoke(name)
        if self._up is not None and self._up.poll() is None:
            self._up.terminate()
            self._up.wait(60)
        if self._reachable is not None and for_good:
            shutil.rmtree(self._reachable, ignore_errors=True)

    @property
    def local_home(self) -> Path:
        """Of the local spoke."""
        return Path(self.environ.get("MANYARM_LOCAL_HOME") or self.home / "spokes" / "local")

    def part(self, name: str) -> int:
        """The pid of a part, as `manyarm up` wrote it down."""
        state = json.loads((self.home / "run" / "state.json").read_text())
        return int(state["parts"][name]["pid"])

    def up_pid(self) -> int:
        assert self._up is not None
        return self._up.pid

    def up_status(self) -> int:
        """With which it has ended by itself; waits for that."""
        assert self._up is not None
        return self._up.wait(60)

    def broker_pid(self) -> int:
        return int(json.loads((self.home / "broker" / "node.json").read_text())["mark"]["pid"])

    # Spokes

    def enrol(self, name: str, *roles: str, environments: tuple[str, ...] = ()) -> None:
        words = [part for role in roles for part in ("--role", role)]
        words += [part for environment in environments for part in ("--environment", environment)]
        made = self.json("join-code", "create", *words, "--auto-approve", "--json")
        self.spoke(name, "enrol", made["code"], "--name", name, *words)

    def start_spoke(self, name: str) -> None:
        self._spokes[name] = self._process(name, "manyarm-spoke", "--home", str(self.spoke_home(name)), "run")
        self.until_healthy(name)

    def until_healthy(self, name: str) -> None:
        def healthy() -> bool:
            try:
                targets = self.call("GET", "/targets")["items"]
            except urllib.error.URLError:
                return False  # The portal is being started again.
            return any(target["name"] == name and target["health"] == "healthy" for target in targets)

        until(healthy, lambda: f"{name} did not become healthy: {self._words(name)}")

    def kill_spoke(self, name: str) -> None:
        self._spokes[name].kill()
        self._spokes.pop(name).wait()

    def stop_spoke(self, name: str) -> None:
        process = self._spokes.pop(name)
        process.terminate()
        process.wait(30)

    def spoke_home(self, name: str) -> Path:
        return self.folder / name

    # The API

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's JSON; a call that the API refuses is an error of the test."""
        return json.loads(self._fetch(method, path, None if body is None else json.dumps(body).encode()) or b"null")

    def fetch(self, path: str) -> bytes:
        return self._fetch("GET", path, None)

    def _fetch(self, method: str, path: str, data: bytes | None) -> bytes:
        headers = {"Authorization": f"Bearer {self.environ['MANYARM_API_KEY']}", "Content-Type": "application/json"}
        if method == "PUT":
            headers["If-Match"] = "*"
        request = urllib.request.Request(f"{self.url}/api/v1{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()}") from error

    # Commands

    def manyarm(self, *words: str, given: str = "", status: int = 0) -> str:
        done = self.run("manyarm", *words, given=given)
        assert done.returncode == status, f"manyarm {words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.manyarm(*words))

    def spoke(self, name: str, *words: str) -> str:
        done = self.run("manyarm-spoke", "--home", str(self.spoke_home(name)), *words)
        assert done.returncode == 0, f"manyarm-spoke {words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def run(self, command: str, *words: str, given: str = "") -> "subprocess.CompletedProcess[str]":
        return warm.run(command, *words, env=self.environ, given=given)

    def _process(self, name: str, command: str, *words: str) -> "subprocess.Popen[bytes]":
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [BIN / command, *words], env=self.environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _is_ready(self) -> bool:
        assert self._up is not None
        assert self._up.poll() is None, f"manyarm up ended: {self._words('up')}"
        return "Ready." in (self.folder / "up.log").read_text()

    def _words(self, name: str) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / f"{name}.log").read_text()[-2000:]
        return "nothing"


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """One hub with the spoke web-1 (role web, environments Test and Live) for all flow tests of a session.

    Its processes end themselves at the crash point that the file `crash` in its folder names.
    """
    requires("rabbitmq")
    folder = tmp_path_factory.mktemp("whole")
    made = Whole(folder, MANYARM_CRASH_AT=f"@{folder / 'crash'}")
    try:
        made.install()
        made.start()
        (made.folder / "places.yaml").write_text("kind: Environment\nname: Test\n---\nkind: Environment\nname: Live\n")
        made.manyarm("apply", "-f", str(made.folder / "places.yaml"))
        made.enrol("web-1", "web", environments=("Test", "Live"))
        made.start_spoke("web-1")
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """One hub with all spokes beside it, which misses one soon: for tests of what happens beside the hub."""
    requires("rabbitmq")
    made = Whole(
        tmp_path_factory.mktemp("house"),
        MANYARM_HOUSE_SPOKES="relay,ssh,local",
        MANYARM_ALLOW_INNER_TARGETS="true",
        MANYARM_LIMIT_HEARTBEAT_S="1",
        SECRET_OF_THE_ADMINISTRATOR="environment",
    )
    try:
        made.install()
        made.start()
        made.until_healthy("hub")
        yield made
    finally:
        made.stop()


def end(pid: int) -> None:
    """kill -9, as the machine's owner would."""
    os.kill(pid, signal.SIGKILL)

"""One hub with one target of each kind, on real parts, and what the conformance kit asks of it."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.conformance.tapping import Tap, lose_logs, tapping
from tests.services.network import Cable
from tests.services.ports import free_ports
from tests.services.sshd import running_sshd
from tests.services.whole import BIN, Whole, end, until

KINDS = ("polling", "listening", "ssh", "local")
# What `manyarm up` keeps beside the hub.
HOUSE = ("relay", "ssh", "local")
ENVIRONMENTS = ("Here", "There")
_ENDED = {"succeeded", "failed", "cancelled", "unknown"}


class Conformance(Whole):
    """A target's name is its kind's name, which is also one of its roles.

    `shared` is a folder in which the scripts of every kind may write, whatever user they run as. `crash_order` is the file
    that names a crash point for whoever comes by. With a cable, the machines of targets stand at its far end, and broker
    and gateway are reached through it.
    """

    kinds: tuple[str, ...] = KINDS

    def __init__(self, folder: Path, cable: Cable | None = None) -> None:
        self._cable = cable
        limits = {"MANYARM_LIMIT_HEARTBEAT_S": "2", "MANYARM_LIMIT_PICK_UP_S": "30"}
        house = ",".join(HOUSE)
        super().__init__(folder, **limits, MANYARM_HOUSE_SPOKES=house, MANYARM_ALLOW_INNER_TARGETS="true")
        if cable is not None:
            for bind in ("MANYARM_GATEWAY_BIND", "MANYARM_BROKER_BIND"):
                self.environ[bind] = self.environ[bind].replace("127.0.0.1", cable.here)
            self.environ["NO_PROXY"] += f",{cable.here}"
        self.shared = Path(tempfile.mkdtemp(prefix="manyarm-kit-"))
        self.shared.chmod(0o777)
        self.crash_order = self.shared / "crash"
        self.environ["MANYARM_CRASH_AT"] = f"@{self.crash_order}"
        self._machines = ExitStack()

    def fill(self) -> None:
        """Environments and one target of each kind, each of them at work."""
        documents = "---\n".join(f"kind: Environment\nname: {name}\n" for name in ENVIRONMENTS)
        (self.folder / "places.yaml").write_text(documents)
        self.manyarm("apply", "-f", str(self.folder / "places.yaml"))
        for kind in self.kinds:
            getattr(self, f"_add_{kind}")()
        for kind in self.kinds:
            self.run_script(kind, "true")

    def stop(self) -> None:
        super().stop()
        self._machines.close()
        shutil.rmtree(self.shared, ignore_errors=True)

    def _add_polling(self) -> None:
        self.enrol("polling", "polling", environments=ENVIRONMENTS)
        self.start_spoke("polling")

    def _add_listening(self) -> None:
        """It dials nobody but the gateway, once, to enrol."""
        (port,) = free_ports(1)
        words = [part for environment in ENVIRONMENTS for part in ("--environment", environment)]
        made = self.json("join-code", "create", "--role", "listening", *words, "--auto-approve", "--json")
        address = f"{self._cable.far if self._cable else '127.0.0.1'}:{port}"
        self.spoke("listening", "enrol", made["code"], "--name", "listening", "--listen", address)
        self.start_spoke("listening")

    def _add_ssh(self) -> None:
        """A machine of which only its SSH server is known: root's, with a home of its own below the shared folder."""
        sshd = self._machines.enter_context(running_sshd(self.shared / "sshd", over=self._cable))
        account = {
            "name": "kit",
            "kind": "ssh-key",
            "fields": {"user": sshd.user},
            "secrets": {"private_key": sshd.client_key},
        }
        self.call("POST", "/accounts", account)
        target = {
            "name": "ssh",
            "kind": "ssh",
            "roles": ["ssh"],
            "environments": list(ENVIRONMENTS),
            "host": sshd.host,
            "port": sshd.port,
            "account": "kit",
            "host_key": sshd.host_key,
            "home": str(self.place("ssh")),
        }
        self.call("POST", "/targets", target)

    def _add_local(self) -> None:
        """The target that steps on the hub run on, by a name and in places of the kit."""
        found = until(
            lambda: [t for t in self.json("target", "list", "--json") if t["kind"] == "local"], "no local spoke"
        )
        body = {"name": "local", "roles": ["local"], "environments": list(ENVIRONMENTS)}
        self.call("PUT", f"/targets/{found[0]['id']}", body)

    def _process(self, name: str, command: str, *words: str) -> subprocess.Popen[bytes]:
        """Machines of their own stand at the far end of the cable, if there is one."""
        if self._cable is None or name not in self.kinds:
            return super()._process(name, command, *words)
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                self._cable.wrapped(str(BIN / command), *words),
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def place(self, kind: str) -> Path:
        """The spoke's home on the target."""
        places = {"local": self.local_home, "ssh": self.shared / "ssh-home"}
        return places.get(kind) or self.spoke_home(kind)

    def chunks(self, kind: str) -> dict[str, int]:
        """What the target keeps of packages: the size of each chunk by its name."""
        return {file.name: file.stat().st_size for file in (self.place(kind) / "chunks").rglob("*") if file.is_file()}

    def forget_chunks(self, kind: str, names: set[str]) -> int:
        """Take these chunks, and whatever was put together of chunks, away from the target; how many bytes that were."""
        place, removed = self.place(kind), 0
        for file in [*(place / "chunks").rglob("*"), *(place / "packages").rglob("*")]:
            if file.is_file() and (file.name in names or (place / "packages") in file.parents):
                removed += file.stat().st_size
                file.unlink()
        return removed

    def damage_chunks(self, kind: str) -> int:
        """A byte of everything that the target keeps of packages; how many files that were."""
        files = [
            file
            for folder in ("chunks", "packages")
            for file in (self.place(kind) / folder).rglob("*")
            if file.is_file()
        ]
        for file in files:
            content = bytearray(file.read_bytes())
            if content:
                content[len(content) // 2] ^= 0x55
                file.chmod(0o600)
                file.write_bytes(content)
        return len(files)

    def kill_supervisor(self, kind: str, task: str) -> None:
        """kill -9 of the process that stands above the script, by what it wrote into its job's folder."""
        found = [
            file for file in (self.place(kind) / "jobs").glob("*/supervisor") if file.stat().st_mtime > time.time() - 60
        ]
        newest = max(found, key=lambda file: file.stat().st_mtime)
        os.kill(int(json.loads(newest.read_text())["pid"]), signal.SIGKILL)

    def tapped(self, kind: str) -> AbstractContextManager[Tap]:
        """A look at the commands to its spoke, with the means to forge some."""
        spokes = {target["name"]: target["spoke"] for target in self.json("target", "list", "--json")}
        ids = {name: self._spoke_id(spokes[name]) for name in KINDS}
        return tapping(self.environ["MANYARM_BROKER_BIND"], self.environ, ids[kind], ids)

    def _spoke_id(self, spoke: str) -> str:
        return str(self.call("GET", f"/spokes/{spoke}")["id"])

    @contextmanager
    def without_engine(self) -> Iterator[None]:
        """It is killed, and nobody starts it again before the block ends."""
        os.kill(self.up_pid(), signal.SIGSTOP)
        try:
            end(self.part("hub"))
            yield
        finally:
            os.kill(self.up_pid(), signal.SIGCONT)

    def lose_logs(self) -> int:
        """Parts of logs that the broker had confirmed are gone; how many."""
        return lose_logs(self.environ["MANYARM_BROKER_BIND"], self.environ)

    # What carries the jobs of a kind

    def carriers(self, kind: str) -> list[int]:
        """The processes between hub and target."""
        relays = [self.part("relay")] if kind == "listening" else []
        return [*relays, self.part(kind) if kind in HOUSE else self._spokes[kind].pid]

    def kill_carriers(self) -> None:
        """kill -9 of them all; what `manyarm up` supervises comes back by itself, the rest is started by its machine."""
        for kind in self.kinds:
            for pid in self.carriers(kind):
                end(pid)
        for kind in self.kinds:
            if kind not in HOUSE:
                self.kill_spoke(kind)
                self.start_spoke(kind)

    def pause(self, kind: str) -> None:
        for pid in self.carriers(kind):
            os.kill(pid, signal.SIGSTOP)

    def resume(self, kind: str) -> None:
        for pid in self.carriers(kind):
            os.kill(pid, signal.SIGCONT)

    # Runs and deployments

    def begin(self, kind: str, script: str, *, shell: str = "bash", timeout_s: int = 600) -> str:
        """Start a script on the target; returns the task."""
        body = {"script": script, "shell": shell, "targets": [kind], "timeout_s": timeout_s}
        return str(self.call("POST", "/runs", body)["task"])

    def run_script(self, kind: str, script: str, **options: Any) -> str:
        """A script that has succeeded; returns the task."""
        task = self.begin(kind, script, **options)
        self.until_succeeded(task)
        return task

    def begin_deployment(self, project: str, environment: str, version: str = "1.0.0") -> str:
        """Deploy a release; returns the task."""
        body = {"project": project, "release": version, "environment": environment}
        return str(self.call("POST", "/deployments", body)["task"])

    def deploy(self, project: str, version: str = "1.0.0") -> str:
        """A deployment that has succeeded; returns the task."""
        task = self.begin_deployment(project, ENVIRONMENTS[0], version)
        self.until_succeeded(task)
        return task

    def task(self, task: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", f"/tasks/{task}")
        return found

    def until_ended(self, task: str, limit_s: float = 120) -> dict[str, Any]:
        def ended() -> dict[str, Any] | None:
            try:
                found = self.task(task)
            except (AssertionError, OSError):
                return None  # The hub is being killed.
            return found if found["state"] in _ENDED else None

        found: dict[str, Any] = until(ended, lambda: f"task {task} does not end: {self._words('up')}", limit_s)
        return found

    def until_succeeded(self, task: str, limit_s: float = 120) -> dict[str, Any]:
        found = self.until_ended(task, limit_s)
        assert found["state"] == "succeeded", f"{found['failure']}\n{self.log(task)}"
        return found

    def lines(self, task: str) -> Iterator[dict[str, Any]]:
        """The log, in order."""
        after: int | None = 0
        while after is not None:
            page = self.call("GET", f"/tasks/{task}/log?limit=1000&after={after}")
            yield from page["items"]
            after = page["next"] if page["items"] else None

    def printed(self, task: str) -> list[str]:
        """What scripts printed to standard output."""
        return [line["text"] for line in self.lines(task) if line["level"] == "stdout"]

    def log(self, task: str) -> str:
        return "\n".join(line["text"] for line in self.lines(task))

    def until_log_complete(self, task: str) -> None:
        """A task may end some seconds before the last of a flood is in; it says so until then."""
        until(lambda: self.of_target(task)["log"] == "complete", lambda: f"the log is {self.of_target(task)['log']}")

    def of_target(self, task: str, step: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = self.task(task)["steps"][step]["targets"][0]
        return found


def seen(path: Path) -> list[str]:
    """The words of a witness: what the script itself wrote down."""
    return path.read_text().split() if path.exists() else []

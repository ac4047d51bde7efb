"""The hub's processes end themselves at each of their crash points; `manyarm up` starts that one again, and nobody else."""

import contextlib
import hashlib
import json
import secrets
import signal
import sqlite3
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.crash.points import Row, trials
from tests.flow.conftest import archive
from tests.services.whole import BIN, Whole, until
from wire.crash import VARIABLE

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow, pytest.mark.timeout(300)]

LIMIT_S = 120
LINES = 6
SCRIPT = """
echo start >> {witness}
for i in $(seq 1 {lines}); do echo "line $i"; sleep 0.1; done
{more}
echo end >> {witness}
"""


@dataclass
class Rig:
    """The session's hub, told where to end."""

    hub: Whole

    @property
    def order(self) -> Path:
        return self.hub.folder / "crash"

    def tell(self, point: str) -> None:
        part = self.order.with_suffix(".part")
        part.write_text(point)
        part.rename(self.order)

    def until_it_crashed(self) -> None:
        until(lambda: not self.order.exists(), "the point was not reached", LIMIT_S)

    def parts(self) -> dict[str, int]:
        state = json.loads((self.hub.home / "run" / "state.json").read_text())
        return {name: int(part["pid"]) for name, part in state["parts"].items()}

    def is_whole(self) -> bool:
        """Whether every part of the hub lives: the one that ended in the test before is started after a pause."""
        return all(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in self.parts().values())

    def ask(self, path: str, body: dict[str, Any]) -> Any:
        """As a program asks that wants it once: the same key until there is an answer."""
        key = secrets.token_hex(16)
        return until(lambda: self.answered(path, body, key), f"{path} is not answered", LIMIT_S)

    def answered(self, path: str, body: dict[str, Any], key: str) -> Any:
        headers = {
            "Authorization": f"Bearer {self.hub.environ['MANYARM_API_KEY']}",
            "Content-Type": "application/json",
            "Idempotency-Key": key,
        }
        request = urllib.request.Request(f"{self.hub.url}/api/v1{path}", json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                # 202 without a task: the engine has not come to it yet.
                return json.loads(answer.read()) if answer.status != 202 or "cancel" in path else None
        except urllib.error.HTTPError as error:
            # A cancel that was asked for before is one that needs no asking.
            return {"conflict": error.read().decode()} if error.code == 409 else None
        except OSError:
            return None

    def read(self, path: str) -> Any:
        """Whatever is away for a moment is asked again."""

        def answer() -> Any:
            with contextlib.suppress(AssertionError, OSError):
                return self.hub.call("GET", path)
            return None

        return until(answer, f"{path} cannot be read", LIMIT_S)

    def ended(self, task: str) -> str:
        def state() -> Any:
            found = self.read(f"/tasks/{task}")["state"]
            return found if found in {"succeeded", "failed", "cancelled", "unknown"} else None

        return str(until(state, lambda: f"the task does not end: {self.read(f'/tasks/{task}')}", LIMIT_S))

    def runs(self) -> int:
        return len(self.read("/tasks?limit=1000&kind=script-run")["items"])

    def lines(self, task: str) -> list[str]:
        found = self.read(f"/tasks/{task}/log?limit=1000")["items"]
        return [line["text"] for line in found if line["target"] == "web-1"]

    def show(self, task: str) -> Any:
        return self.read(f"/tasks/{task}")["steps"][0]["targets"][0]


@pytest.fixture
def rig(whole: Whole) -> Iterator[Rig]:
    made = Rig(whole)
    made.order.unlink(missing_ok=True)
    until(made.is_whole, "the hub's parts do not run", LIMIT_S)
    whole.until_healthy("web-1")
    yield made
    made.order.unlink(missing_ok=True)


def run(rig: Rig, witness: Path, more: str = "") -> str:
    script = SCRIPT.format(witness=witness, lines=LINES, more=more)
    return str(rig.ask("/runs", {"script": script, "shell": "bash", "targets": ["web-1"]})["task"])


def started(rig: Rig, witness: Path, more: str) -> str:
    task = run(rig, witness, more)
    until(witness.exists, "the script did not start", LIMIT_S)
    return task


# What goes on when it ends: each tells where, and gives back the task.


def asked(rig: Rig, witness: Path, point: str) -> str:
    rig.tell(point)
    return run(rig, witness)


def cancelled(rig: Rig, witness: Path, point: str) -> str:
    task = started(rig, witness, "sleep 600")
    rig.tell(point)
    rig.ask(f"/tasks/{task}/cancel", {})
    return task


def with_artifact(rig: Rig, witness: Path, point: str) -> str:
    rig.tell(point)
    return run(rig, witness, "seq 1 1000 > report.txt; new_artifact report.txt")


def timed(rig: Rig, witness: Path, point: str, timer: str = "deadline") -> str:
    """A timer of the task is due: its row is moved, as if time had passed."""
    go = witness.with_suffix(".go")
    task = started(rig, witness, f"while [ ! -e {go} ]; do sleep 0.1; done")
    rig.tell(point)
    with contextlib.closing(sqlite3.connect(rig.hub.home / "manyarm.db", timeout=30)) as database, database:
        moved = database.execute("UPDATE timer SET due_at = 1 WHERE task_id = ? AND name = ?", (task, timer))
        assert moved.rowcount == 1
    rig.until_it_crashed()
    if timer == "deadline":
        go.touch()
    return task


def overdue(rig: Rig, witness: Path, point: str) -> str:
    """The task has no time left: its run is ended."""
    return timed(rig, witness, point, "task")


AMID: dict[str, Callable[[Rig, Path, str], str]] = {
    "run": asked,
    "cancel": cancelled,
    "artifact": with_artifact,
    "timer": timed,
    "end of its time": overdue,
}


@pytest.mark.parametrize("row", trials("hub"))
def test_a_part_that_ends_there_loses_nothing_and_does_nothing_twice(rig: Rig, tmp_path: Path, row: Row) -> None:
    witness = tmp_path / "witness"
    before, runs, spoke = rig.parts(), rig.runs(), rig.hub._spokes["web-1"].pid
    task = AMID[row.amid](rig, witness, row.point)
    rig.until_it_crashed()
    state = rig.ended(task)
    starts = witness.read_text().split().count("start") if witness.exists() else 0
    assert (state in row.ends, starts in row.starts) == (True, True), (rig.read(f"/tasks/{task}"), starts)
    if state == "succeeded":
        assert witness.read_text().split() == ["start", "end"]
        assert rig.lines(task) == [f"line {number + 1}" for number in range(LINES)]
        until(lambda: rig.show(task)["log"] == "complete", lambda: f"the log: {rig.show(task)}", LIMIT_S)
    if row.amid == "artifact":
        assert_artifact(rig, task)
    # One task of it, and nobody was started again but who ended.
    assert rig.runs() == runs + 1
    after = rig.parts()
    assert sum(after[name] != pid for name, pid in before.items()) <= 1
    assert (rig.hub._spokes["web-1"].pid, rig.hub._spokes["web-1"].poll()) == (spoke, None)


def assert_artifact(rig: Rig, task: str) -> None:
    def stored() -> Any:
        return [item for item in rig.read(f"/tasks/{task}/artifacts")["items"] if item["stored"]]

    found = until(stored, lambda: f"it does not come: {rig.read(f'/tasks/{task}/artifacts')}", LIMIT_S)
    assert len(found) == 1
    content = rig.hub.fetch(f"/artifacts/{found[0]['id']}")
    assert content == b"".join(b"%d\n" % number for number in range(1, 1001))


@pytest.mark.parametrize("row", trials("push"))
def test_a_push_that_is_cut_off_there_is_made_again_and_is_whole(rig: Rig, tmp_path: Path, row: Row) -> None:
    """The worker that takes it in ends itself; whoever pushes pushes again."""
    name = f"cut-{secrets.token_hex(4)}"
    file = tmp_path / f"{name}.1.0.0.tar"
    archive(file, {"index.html": secrets.token_hex(200_000)})
    before = rig.parts()
    rig.tell(row.point)
    until(lambda: rig.hub.run("manyarm", "package", "push", str(file)).returncode == 0, "it is not taken", LIMIT_S)
    assert not rig.order.exists()
    shown = rig.hub.json("package", "show", name, "1.0.0", "--json")
    assert shown["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert rig.parts() == before


@pytest.mark.parametrize("row", trials("enrolment"))
def test_an_enrolment_that_is_cut_off_there_is_asked_for_again(rig: Rig, row: Row) -> None:
    name = f"cut-{secrets.token_hex(4)}"
    made = rig.hub.json("join-code", "create", "--auto-approve", "--json")
    rig.tell(row.point)
    words = ("--home", str(rig.hub.spoke_home(name)), "enrol", made["code"], "--name", name)
    until(lambda: rig.hub.run("manyarm-spoke", *words).returncode == 0, "it is not enrolled", LIMIT_S)
    assert not rig.order.exists()
    spokes = [spoke for spoke in rig.read("/spokes?limit=1000")["items"] if spoke["name"] == name]
    assert len(spokes) == 1


@pytest.mark.parametrize("row", trials("joining"))
def test_a_spoke_that_ends_there_as_it_joins_goes_on_with_the_same_code(rig: Rig, row: Row) -> None:
    name = f"cut-{secrets.token_hex(4)}"
    made = rig.hub.json("join-code", "create", "--auto-approve", "--json")
    words = ("--home", str(rig.hub.spoke_home(name)), "enrol", made["code"], "--name", name)
    environ = rig.hub.environ | {VARIABLE: row.point}
    first = subprocess.run([BIN / "manyarm-spoke", *words], env=environ, capture_output=True, timeout=120, check=False)
    assert first.returncode == -signal.SIGKILL, first.stderr
    again = rig.hub.run("manyarm-spoke", *words)
    assert again.returncode == 0, again.stderr
    spokes = [spoke for spoke in rig.read("/spokes?limit=1000")["items"] if spoke["name"] == name]
    assert len(spokes) == 1

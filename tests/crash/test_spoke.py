"""The spoke's daemon ends itself at each of its crash points; the next one goes on, and nothing else is touched."""

import contextlib
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.crash.points import Row, trials
from tests.fakes.hub_end import HubEnd
from tests.fakes.parties import FakeHub
from tests.fakes.spoke_gateway import FakeGateway
from tests.fakes.spoke_home import enrolled_home
from tests.fakes.spoke_world import World, built_runner
from tests.services.whole import until
from wire.amqp.connection import AmqpConnection
from wire.crash import VARIABLE
from wire.messages import Command, PackageRef, Result

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]
LIMIT_S = 90
SCRIPT = """
echo start >> {witness}
for i in $(seq 1 {lines}); do echo "line $i"; sleep {pause}; done
{more}
echo end >> {witness}
"""


@dataclass
class Rig:
    """One spoke, whose daemon is started again when it has ended itself; all else goes on."""

    world: World
    folder: Path
    process: "subprocess.Popen[bytes] | None" = None
    releases: int = 1
    sent: dict[str, Command] = field(default_factory=dict)

    @property
    def order(self) -> Path:
        return self.folder / "crash"

    def start(self, *, standby: str = "off") -> None:
        self.world.end.spokes[self.world.home.spoke_id].live = False
        with (self.folder / "spoke.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "spokes", "--home", str(self.world.home.root), "run"],
                cwd=ROOT,
                env=os.environ | {"MANYARM_SPOKE_STANDBY": standby, VARIABLE: f"@{self.order}"},
                stdout=log,
                stderr=log,
            )

    def ready(self) -> None:
        """A daemon that lives, has its session, and has done all that was asked of it."""
        self.order.unlink(missing_ok=True)
        if self.process is None or self.process.poll() is not None:
            self.start()
        self.world.end.wait_live(self.world.home.spoke_id, LIMIT_S)

    def tell(self, point: str) -> None:
        part = self.order.with_suffix(".part")
        part.write_text(point)
        part.rename(self.order)

    def send(self, command: Command) -> str:
        self.world.end.command(self.world.home.spoke_id, command)
        self.sent[command.cid] = command
        return command.cid

    def until_it_crashed(self) -> None:
        assert self.process is not None
        assert self.process.wait(LIMIT_S) == -signal.SIGKILL, self.words()
        assert not self.order.exists()

    def send_again(self, cid: str) -> None:
        """As a hub does what it has no end of, when its spoke has a new session: sealed anew, the same job."""
        self.world.end.wait_live(self.world.home.spoke_id, LIMIT_S)
        if not self.world.end.results[cid]:
            self.send(self.sent[cid])

    def result(self, cid: str) -> Result:
        return self.world.end.result(cid, LIMIT_S)

    def supervise(self) -> list[str]:
        """The command that supervises a folder, as the daemon gives it."""
        folder = self.world.home.root / "runners" / self.world.runner.sha256
        return [sys.executable, "-I", "-S", "-B", str(folder), "supervise"]

    def words(self) -> str:
        return (self.folder / "spoke.log").read_text()[-3000:]

    def job_folder(self, cid: str) -> Path:
        return self.world.home.root / "jobs" / cid

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def rig(broker_node, tmp_path_factory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("crash")
    hub = FakeHub()
    with FakeGateway(hub) as gateway:
        gateway.pinned()
        spoke_id, url = broker_node.make_spoke()
        home = enrolled_home(folder / "spoke", hub, gateway=gateway.address, broker_url=url, spoke_id=spoke_id)
        end = HubEnd(hub, AmqpConnection(broker_node.hub_url, name="crash"))
        home.known_to(end)
        end.start()
        made = Rig(World(hub, None, end, gateway, home, gateway.add_runner(built_runner())), folder)
        made.start()
        try:
            made.result(made.send(made.world.job("true")))
            yield made
        finally:
            made.stop()
            end.stop()


# What goes on when it ends; each gives back the job and how many lines it prints.


@dataclass(frozen=True, slots=True)
class Begun:
    cid: str
    lines: int


def short(rig: Rig, witness: Path) -> Begun:
    """A script for which all is at hand."""
    return Begun(rig.send(rig.world.job(SCRIPT.format(witness=witness, lines=3, pause=0, more=""))), 3)


def later(rig: Rig, witness: Path) -> Begun:
    """One that starts in a moment: until then there is nothing but its acknowledgement to be said of it."""
    due = rig.world.end.now + 4
    return Begun(rig.send(rig.world.job(SCRIPT.format(witness=witness, lines=3, pause=0, more=""), not_before=due)), 3)


def stood_by(rig: Rig, witness: Path) -> Begun:
    """A script for which a supervisor stands by."""
    rig.order.rename(witness.with_suffix(".order"))
    rig.stop()
    rig.start(standby="on")
    rig.result(rig.send(rig.world.job("true")))
    until(lambda: list((rig.world.home.root / "run").glob("standby-*")), "nobody stands by", LIMIT_S)
    witness.with_suffix(".order").rename(rig.order)
    return short(rig, witness)


def talking(rig: Rig, witness: Path) -> Begun:
    """One whose log takes many frames."""
    return Begun(rig.send(rig.world.job(SCRIPT.format(witness=witness, lines=12, pause=0.1, more=""))), 12)


def packaged(rig: Rig, witness: Path) -> Begun:
    """One with a package that has to be fetched first."""
    ref = rig.world.gateway.add_package(os.urandom(200_000), "web", "1.0.0", "tar")
    command = rig.world.job(SCRIPT.format(witness=witness, lines=3, pause=0, more=""), extra=(ref,))
    return Begun(rig.send(command), 3)


def with_artifact(rig: Rig, witness: Path) -> Begun:
    more = "seq 1 1000 > report.txt; new_artifact report.txt"
    return Begun(rig.send(rig.world.job(SCRIPT.format(witness=witness, lines=3, pause=0, more=more))), 3)


def with_secret(rig: Rig, witness: Path) -> Begun:
    more = "set_variable Hidden canary-9d21 --secret"
    return Begun(rig.send(rig.world.job(SCRIPT.format(witness=witness, lines=3, pause=0, more=more))), 3)


def upgraded(rig: Rig, witness: Path) -> Begun:
    """One that brings a new runner."""
    rig.world.runner = newer_runner(rig)
    return short(rig, witness)


def cancelled(rig: Rig, witness: Path) -> Begun:
    """One that runs, and is cancelled."""
    begun = Begun(rig.send(rig.world.job(SCRIPT.format(witness=witness, lines=0, pause=0, more="sleep 600"))), 0)
    rig.world.end.wait(witness.exists, "its start", LIMIT_S)
    rig.world.end.cancel(rig.world.home.spoke_id, begun.cid)
    return begun


AMID: dict[str, Callable[[Rig, Path], Begun]] = {
    "script": short,
    "later script": later,
    "stand-by": stood_by,
    "talking script": talking,
    "package": packaged,
    "artifact": with_artifact,
    "secret output": with_secret,
    "new runner": upgraded,
    "cancel": cancelled,
}


def newer_runner(rig: Rig, **files: str) -> PackageRef:
    """The same runner with another number, and perhaps other files."""
    rig.releases += 1
    path = rig.folder / f"runner-{rig.releases}.pyz"
    with zipfile.ZipFile(built_runner()) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            if name not in files:
                new.writestr(zipfile.ZipInfo(name), old.read(name))
        for name, text in {"runner/number.txt": str(rig.releases), **files}.items():
            new.writestr(zipfile.ZipInfo(name), text)
    return rig.world.gateway.add_runner(path, release=rig.releases)


@pytest.mark.parametrize("row", trials("spoke"))
def test_a_daemon_that_ends_there_costs_no_start_no_line_and_no_result(rig: Rig, tmp_path: Path, row: Row) -> None:
    rig.ready()
    witness = tmp_path / "witness"
    rig.tell(row.point)
    begun = AMID[row.amid](rig, witness)
    rig.until_it_crashed()
    rig.start()
    rig.send_again(begun.cid)
    if row.amid == "cancel":
        rig.world.end.cancel(rig.world.home.spoke_id, begun.cid)
    result = rig.result(begun.cid)
    starts = witness.read_text().split().count("start") if witness.exists() else 0
    assert (str(result.state) in row.ends, starts in row.starts) == (True, True), (result, starts, rig.words())
    if str(result.state) == "succeeded":
        assert witness.read_text().split() == ["start", "end"]
        printed = rig.world.end.whole_log(begun.cid).decode().splitlines()
        lines = [line for line in printed if line.startswith("line ")]
        assert lines == [f"line {number + 1}" for number in range(begun.lines)]
    assert_one_end(rig, begun.cid)
    assert_cleared(rig, begun.cid)


@pytest.mark.parametrize("row", trials("supervisor"))
def test_a_supervisor_that_ends_there_starts_nothing_twice_and_leaves_nothing_running(
    rig: Rig, tmp_path: Path, row: Row
) -> None:
    """It, or its worker; the daemon that started it goes on."""
    rig.ready()
    assert rig.process is not None
    daemon, witness = rig.process.pid, tmp_path / "witness"
    rig.tell(row.point)
    begun = AMID[row.amid](rig, witness)
    result = rig.result(begun.cid)
    assert not rig.order.exists()
    starts = witness.read_text().split().count("start") if witness.exists() else 0
    assert (str(result.state) in row.ends, starts in row.starts) == (True, True), (result, starts, rig.words())
    until(lambda: not processes_of(begun.cid), f"of {begun.cid} there live {processes_of(begun.cid)}", LIMIT_S)
    if str(result.state) == "succeeded":
        assert witness.read_text().split() == ["start", "end"]
    # What the result announces of the log is there, and nobody does the job once more.
    rig.world.end.whole_log(begun.cid)
    again = [*rig.supervise(), str(rig.job_folder(begun.cid))]
    said = subprocess.run(again, input=b'{"secrets":{},"go":true}\n', capture_output=True, check=False)
    assert (said.returncode, b"at most once" in said.stderr) == (4, True), said
    assert (rig.process.pid, rig.process.poll()) == (daemon, None)
    assert_one_end(rig, begun.cid)
    assert_cleared(rig, begun.cid)


def processes_of(cid: str) -> list[int]:
    """Those that live and carry the mark of this job in the environment that they were started with."""
    found = []
    for place in Path("/proc").iterdir():
        with contextlib.suppress(OSError, IndexError):
            if place.name.isdigit() and f"MANYARM_JOB={cid}".encode() in (place / "environ").read_bytes():
                state = (place / "stat").read_text().rpartition(")")[2].split()[0]
                found += [int(place.name)] if state not in "ZX" else []
    return found


def assert_one_end(rig: Rig, cid: str) -> None:
    """However often it was said, it was the same."""
    said = {(one.state, one.exit_code, one.records, one.chain) for one in rig.world.end.results[cid]}
    assert len(said) == 1, rig.world.end.results[cid]


def assert_cleared(rig: Rig, cid: str) -> None:
    """What only the run needed goes, and no secret value stays."""
    folder = rig.job_folder(cid)
    until(lambda: not (folder / "job.json").exists(), f"{folder} was not cleared", LIMIT_S)
    left = [path for path in folder.rglob("*") if path.is_file() and b"canary-9d21" in path.read_bytes()]
    assert left == []


def test_a_new_runner_that_does_not_start_costs_its_own_job_alone(rig: Rig, tmp_path: Path) -> None:
    """The old one stays installed, and what names it runs on it."""
    rig.ready()
    old, witness = rig.world.runner, tmp_path / "witness"
    try:
        rig.world.runner = newer_runner(rig, **{"__main__.py": "raise SystemExit('broken build')\n"})
        broken = rig.result(rig.send(rig.world.job(f"echo start >> {witness}")))
        assert str(broken.state) in {"failed", "unknown"}
    finally:
        rig.world.runner = old
    assert not witness.exists()
    after = rig.send(rig.world.job(f"echo start >> {witness}"))
    assert str(rig.result(after).state) == "succeeded"
    assert witness.read_text() == "start\n"


def test_each_of_ten_steps_ends_on_the_runner_that_its_plan_names(rig: Rig, tmp_path: Path) -> None:
    rig.ready()
    which = "tr '\\0' '\\n' < /proc/$PPID/cmdline | grep -o 'runners/[0-9a-f]*'"
    wait = f"{which}; echo begun; while [ ! -e {tmp_path / 'go'} ]; do sleep 0.1; done; {which}"
    old = rig.world.runner
    running = [rig.send(rig.world.job(wait)) for _ in range(10)]
    for cid in running:
        rig.world.end.wait(lambda cid=cid: b"begun" in rig.world.end._spool_unlocked(cid), "its start", LIMIT_S)
    rig.world.runner = newer_runner(rig)
    newest = rig.send(rig.world.job(which))
    assert str(rig.result(newest).state) == "succeeded"
    assert rig.world.end.whole_log(newest).decode().split() == [f"runners/{rig.world.runner.sha256}"]
    (tmp_path / "go").touch()
    for cid in running:
        assert str(rig.result(cid).state) == "succeeded"
        log = rig.world.end.whole_log(cid).decode().split()
        assert log == [f"runners/{old.sha256}", "begun", f"runners/{old.sha256}"]

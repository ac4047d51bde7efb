"""What a daemon finds that takes up a job of its predecessor's: a run of ours, nobody's, or a stranger's process."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from spokes.agent import journal, processes
from spokes.agent.home import SpokeHome
from spokes.agent.job_folder import SUPERVISOR
from spokes.agent.journal import Journal
from spokes.agent.processes import start_time
from tests.services.whole import until


def journal_of(world) -> Journal:
    return Journal(SpokeHome(world.home.root).journal)


def promised(world, daemon, command) -> str:
    """A job that the daemon has promised to start, as it is killed before it does."""
    daemon.executor._started = lambda *_: None
    sent = world.end.command(world.home.spoke_id, command)
    world.end.wait(lambda: starting(world, sent.cid), "the promise")
    return sent.cid


def starting(world, cid: str) -> bool:
    entry = journal_of(world).entry(cid)
    return entry is not None and entry.state == "starting" and (world.home.root / "jobs" / cid / "job.json").exists()


def test_a_job_that_was_promised_and_not_started_has_failed_and_can_start_no_more(world, tmp_path):
    """A supervisor that was slow to begin, and comes when the next daemon has said so, is refused."""
    witness = tmp_path / "witness"
    with world.serving() as daemon:
        world.end.result(world.run().cid)
        cid = promised(world, daemon, world.job(f"echo ran > {witness}"))
        runner = Path(daemon.sites.site.machine.home) / "runners" / world.runner.sha256
    with world.serving():
        result = world.end.result(cid)
        assert (result.state, result.started_at) == ("failed", 0)
        assert "nothing of it ran" in result.message
        folder = world.home.root / "jobs" / cid
        late = subprocess.run(
            [sys.executable, "-I", "-S", "-B", str(runner), "supervise", str(folder)],
            input=b'{"secrets":{},"go":true}\n',
            capture_output=True,
            check=False,
        )
        assert (late.returncode, b"at most once" in late.stderr) == (4, True)
        assert not witness.exists()


def test_after_a_restart_of_the_machine_nobody_knows_whether_it_ran(world, monkeypatch):
    """The claim of its folder is on no disk for certain: a power cut may have taken it away."""
    with world.serving() as daemon:
        world.end.result(world.run().cid)
        cid = promised(world, daemon, world.job("true"))
    monkeypatch.setattr(journal, "boot_id", lambda: "another boot")
    with world.serving():
        assert world.end.result(cid).state == "unknown"


@pytest.fixture
def stranger():
    """A process that is nobody's job, and leads a session as a supervisor does."""
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("changed", ["start_time", "boot_id"])
def test_f28_whoever_has_the_pid_of_a_run_that_is_gone_is_no_run_of_ours(world, stranger, changed):
    with world.serving():
        sent = world.run("echo begun; exec sleep 600")
        world.end.wait(lambda: b"begun" in world.end._spool_unlocked(sent.cid), "its start")
    named = world.home.root / "jobs" / sent.cid / SUPERVISOR
    run = json.loads(named.read_text())
    # As the machine's end leaves it: nothing of the run lives, and its number is given to somebody else.
    os.killpg(run["pid"], signal.SIGKILL)
    until(lambda: start_time(run["pid"]) is None, "the supervisor lives")
    now = {"pid": stranger.pid, "start_time": start_time(stranger.pid), "boot_id": processes.boot_id()}
    named.write_text(json.dumps(now | {changed: run["start_time"] if changed == "start_time" else "an earlier boot"}))
    with world.serving():
        result = world.end.result(sent.cid)
        assert result.state == "unknown"
        assert stranger.poll() is None
        assert b"begun" in world.end.whole_log(sent.cid)

"""A supervisor that dies in the middle of a script, on the spoke's own machine and on one that is reached by SSH."""

import json
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from spokes.agent.following import LOOK_S
from tests.fakes.spoke_world import spoke_world
from tests.fakes.ssh_world import ssh_world

# The script itself, a child of it, a daemon with a session of its own whose parents are gone, and one of that one's.
SCRIPT = """
cd {witness}
echo $$ > script
sleep 300 & echo $! > child
python3 - <<'END'
import os, signal, subprocess, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
os.closerange(0, 3)
below = subprocess.Popen(['sleep', '300'], env={{}}, start_new_session=True)
open('below', 'w').write(str(below.pid))
open('daemon', 'w').write(str(os.getpid()))
time.sleep(300)
END
while [ ! -s daemon ]; do sleep 0.05; done
echo all of it runs
sleep 300
"""


@pytest.fixture(params=["here", "ssh"])
def world(request, tmp_path):
    if request.param == "here":
        with spoke_world(tmp_path) as world:
            yield world
    else:
        with ssh_world(tmp_path, request.getfixturevalue("sshd")) as world:
            yield world


@pytest.fixture
def witness(tmp_path):
    folder = tmp_path / "witness"
    folder.mkdir()
    yield folder
    for process in processes(folder):
        process.kill()


def processes(witness: Path) -> list[psutil.Process]:
    return [
        process
        for name in ("script", "child", "daemon", "below")
        if (witness / name).exists()
        for process in [found(int((witness / name).read_text()))]
        if process is not None
    ]


def found(pid: int) -> psutil.Process | None:
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process
    except psutil.NoSuchProcess:
        return None


def job_folder(world, sent) -> Path:
    return getattr(world, "target_home", None) or world.home.root, sent.cid


def kill_supervisor(world, sent) -> None:
    home, cid = job_folder(world, sent)
    os.kill(json.loads((home / "jobs" / cid / "supervisor").read_text())["pid"], signal.SIGKILL)


def all_runs(world, sent, witness) -> None:
    world.end.wait(lambda: b"all of it runs" in world.end._spool_unlocked(sent.cid), "the script")
    assert len(processes(witness)) == 4


def all_ended(world, sent, witness) -> None:
    result = world.end.result(sent.cid)
    assert (result.state, result.exit_code) == ("unknown", None)
    assert "records of output" in result.known
    assert "processes that it had left were ended" in result.known
    assert processes(witness) == []
    assert b"all of it runs" in world.end.whole_log(sent.cid)
    home, cid = job_folder(world, sent)
    deadline = time.monotonic() + 30
    while (home / "jobs" / cid / "work").exists():
        assert time.monotonic() < deadline, "the work folder is left"
        time.sleep(0.05)


def test_t109_a_killed_supervisor_leaves_an_honest_unknown_and_no_process(world, witness):
    with world.serving():
        sent = world.run(SCRIPT.format(witness=witness))
        all_runs(world, sent, witness)
        kill_supervisor(world, sent)
        all_ended(world, sent, witness)
        honest = world.run("echo fine")
        assert world.end.result(honest.cid).state == "succeeded"


def test_t109_a_spoke_that_starts_after_the_kill_ends_what_was_left(world, witness):
    with world.serving():
        sent = world.run(SCRIPT.format(witness=witness))
        all_runs(world, sent, witness)
    # That daemon was in this process: its last look ends after it.
    time.sleep(2 * LOOK_S)
    kill_supervisor(world, sent)
    assert len(processes(witness)) == 4
    with world.serving():
        all_ended(world, sent, witness)

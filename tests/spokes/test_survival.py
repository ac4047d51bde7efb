"""Runs go on whatever happens to the daemon; the daemon is a real process here, and so is RabbitMQ."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fakes.hub_end import HubEnd
from tests.fakes.spoke_home import enrolled_home
from tests.fakes.spoke_world import World, built_runner
from tests.services.rabbitmq import running_broker
from tests.services.requires import requires
from wire.amqp.connection import AmqpConnection

pytestmark = pytest.mark.rabbitmq
ROOT = Path(__file__).parents[2]


@contextmanager
def daemon(world, **environ):
    """`manyarm-spoke run` until the block ends."""
    process = start(world, **environ)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def start(world, **environ):
    world.end.spokes[world.home.spoke_id].live = False
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "spokes", "--home", str(world.home.root), "run"],
        cwd=ROOT,
        env=os.environ | {"MANYARM_SPOKE_STANDBY": "off"} | environ,
    )


@pytest.fixture
def real(hub, gateway, tmp_path, broker):
    """A world around a real broker."""
    spoke_id, url = broker.make_spoke()
    home = enrolled_home(tmp_path / "spoke", hub, gateway=gateway.address, broker_url=url, spoke_id=spoke_id)
    end = HubEnd(hub, AmqpConnection(broker.hub_url, name="test hub"))
    home.known_to(end)
    end.start()
    yield World(hub, None, end, gateway, home, gateway.add_runner(built_runner()))
    end.stop()


def counting(witness: Path, seconds: int) -> str:
    """A script that says when it starts and ends, and prints a line ten times a second."""
    loop = f"for i in $(seq 1 {seconds * 10}); do echo line $i; sleep 0.1; done"
    return f"echo start >> {witness}; {loop}; echo end >> {witness}"


def printed(world, sent):
    return [line for line in world.end.whole_log(sent.cid).decode().splitlines() if line.startswith("line")]


def test_a_killed_daemon_loses_neither_run_nor_line_nor_result(real, tmp_path):
    witness = tmp_path / "witness"
    with daemon(real) as process:
        sent = real.run(counting(witness, 4))
        real.end.wait(lambda: b"line 5" in real.end._spool_unlocked(sent.cid), "some lines")
        process.kill()
        process.wait()
    time.sleep(0.5)
    with daemon(real):
        assert real.end.result(sent.cid).state == "succeeded"
        assert printed(real, sent) == [f"line {number}" for number in range(1, 41)]
        assert witness.read_text().split() == ["start", "end"]


def test_a_run_that_ends_while_no_daemon_lives_is_reported_by_the_next_one(real, tmp_path):
    witness = tmp_path / "witness"
    with daemon(real) as process:
        sent = real.run(counting(witness, 1))
        real.end.wait(witness.exists, "the start")
        process.kill()
        process.wait()
    deadline = time.monotonic() + 20
    while "end" not in witness.read_text() and time.monotonic() < deadline:
        time.sleep(0.1)
    with daemon(real):
        assert real.end.result(sent.cid).state == "succeeded"
        assert len(printed(real, sent)) == 10
        assert witness.read_text().split() == ["start", "end"]


def test_term_lets_the_daemon_go_at_once_and_the_run_on(real, tmp_path):
    witness = tmp_path / "witness"
    with daemon(real) as process:
        sent = real.run(counting(witness, 3))
        real.end.wait(witness.exists, "the start")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
    with daemon(real):
        assert real.end.result(sent.cid).state == "succeeded"
        assert witness.read_text().split() == ["start", "end"]


def test_a_killed_supervisor_is_unknown_and_nothing_of_its_run_lives_on(real, tmp_path):
    pid_file = tmp_path / "pid"
    with daemon(real):
        sent = real.run(f"echo $$ > {pid_file}; echo one line; sleep 300")
        real.end.wait(lambda: b"one line" in real.end._spool_unlocked(sent.cid), "its line")
        supervisor = json.loads((real.home.root / "jobs" / sent.cid / "supervisor").read_text())
        os.kill(supervisor["pid"], signal.SIGKILL)
        result = real.end.result(sent.cid)
        assert result.state == "unknown"
        assert "records of output" in result.known
        script = Path(f"/proc/{pid_file.read_text().strip()}/stat")
        real.end.wait(lambda: not script.exists() or script.read_text().split()[2] in "ZX", "the script's end", 10)


def test_a_job_accepted_and_not_started_before_a_kill_starts_once_after_it(real, tmp_path):
    witness = tmp_path / "witness"
    with daemon(real) as process:
        real.end.wait_live(real.home.spoke_id)
        sent = real.run(f"echo start >> {witness}", not_before=real.end.now + 4)
        assert real.end.ack(sent.cid).state == "accepted"
        process.kill()
        process.wait()
    with daemon(real):
        assert real.end.result(sent.cid).state == "succeeded"
        assert witness.read_text().split() == ["start"]


def test_a_second_daemon_for_one_home_is_refused_by_name(real):
    with daemon(real) as process:
        real.end.wait_live(real.home.spoke_id)
        other = subprocess.run(
            [sys.executable, "-m", "spokes", "--home", str(real.home.root), "run"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert other.returncode == 1
        assert f"process {process.pid}" in other.stderr
        assert "Traceback" not in other.stderr


def test_status_says_that_a_daemon_serves(real):
    command = [sys.executable, "-m", "spokes", "--home", str(real.home.root), "status", "--json"]
    with daemon(real):
        spoke = real.end.wait_live(real.home.spoke_id)
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
            if said.returncode == 0:
                break
        found = json.loads(said.stdout)
        assert (found["running"], found["session"], found["broker"]) == (True, spoke.nonce, "connected")


def test_a_broker_killed_in_the_middle_costs_neither_run_nor_line(hub, gateway, tmp_path):
    requires("rabbitmq")
    witness = tmp_path / "witness"
    with running_broker() as broker:
        spoke_id, url = broker.make_spoke()
        home = enrolled_home(tmp_path / "spoke", hub, gateway=gateway.address, broker_url=url, spoke_id=spoke_id)
        end = HubEnd(hub, AmqpConnection(broker.hub_url, name="test hub"))
        home.known_to(end)
        end.start()
        world = World(hub, None, end, gateway, home, gateway.add_runner(built_runner()))
        with daemon(world):
            sent = world.run(counting(witness, 6))
            end.wait(lambda: b"line 5" in end._spool_unlocked(sent.cid), "some lines")
            os.kill(broker.node.pid, signal.SIGKILL)
            time.sleep(2)
            broker.node.start()
            broker.node.wait_ready(90)
            assert end.result(sent.cid, 60).state == "succeeded"
            assert printed(world, sent) == [f"line {number}" for number in range(1, 61)]
            assert witness.read_text().split() == ["start", "end"]
        end.stop()


def test_a_broker_that_is_down_at_the_start_is_waited_for_and_term_still_works(hub, tmp_path):
    home = enrolled_home(tmp_path / "spoke", hub, broker_url="amqp://user:password@127.0.0.1:9/manyarm")
    world = World(hub, None, HubEnd(hub, None), None, home.known_to(HubEnd(hub, None)), None)
    world.end.know(home.spoke_id, home.keys.signing.verify_key, home.keys.box.public)
    with daemon(world) as process:
        deadline = time.monotonic() + 20
        while not (home.root / "run" / "status.json").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert process.poll() is None
        assert json.loads((home.root / "run" / "status.json").read_text())["broker"] == "connecting"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=15) == 0

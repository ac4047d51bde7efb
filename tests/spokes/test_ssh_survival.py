"""The ssh spoke as a real process with a real RabbitMQ: killed amid a run it comes back and goes on from there."""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.fakes.hub_end import HubEnd
from tests.fakes.spoke_home import enrolled_home
from tests.fakes.spoke_world import built_runner
from tests.fakes.ssh_world import SshWorld, endpoint_of
from wire.amqp.connection import AmqpConnection

pytestmark = pytest.mark.rabbitmq
ROOT = Path(__file__).parents[2]


@contextmanager
def daemon(world):
    """`manyarm-spoke ssh` until the block ends."""
    world.end.spokes[world.home.spoke_id].live = False
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "spokes", "--home", str(world.home.root), "ssh"],
        cwd=ROOT,
        env=os.environ | {"MANYARM_SPOKE_STANDBY": "off"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def real(hub, gateway, tmp_path, broker, sshd):
    """A world around a real broker and a real sshd."""
    spoke_id, url = broker.make_spoke()
    home = enrolled_home(tmp_path / "spoke", hub, gateway=gateway.address, broker_url=url, spoke_id=spoke_id)
    end = HubEnd(hub, AmqpConnection(broker.hub_url, name="test hub"))
    home.known_to(end)
    end.start()
    yield SshWorld(
        hub,
        None,
        end,
        gateway,
        home,
        gateway.add_runner(built_runner()),
        sshd=sshd,
        target_home=tmp_path / "target",
        endpoint=endpoint_of(sshd, tmp_path / "target"),
    )
    end.stop()


def counting(witness: Path, seconds: int) -> str:
    loop = f"for i in $(seq 1 {seconds * 10}); do echo line $i; sleep 0.1; done"
    return f"echo start >> {witness}; {loop}; echo end >> {witness}"


def test_a_killed_ssh_spoke_loses_neither_run_nor_line_nor_result(real, tmp_path):
    witness = tmp_path / "witness"
    with daemon(real):
        sent = real.run(counting(witness, 10))
        real.end.wait(lambda: b"line 20" in real.end._spool_unlocked(sent.cid), "some lines")
    for number in (b"line 50", b"line 80"):
        with daemon(real):
            real.end.wait(lambda number=number: number in real.end._spool_unlocked(sent.cid), "more lines")
            real.sshd.cut()
    with daemon(real):
        assert real.end.result(sent.cid).state == "succeeded"
        printed = [line for line in real.end.whole_log(sent.cid).decode().splitlines() if line.startswith("line")]
        assert printed == [f"line {number}" for number in range(1, 101)]
        assert witness.read_text().split() == ["start", "end"]


def test_a_job_accepted_and_not_started_before_a_kill_starts_once_after_it(real, tmp_path):
    witness = tmp_path / "witness"
    with daemon(real):
        real.end.wait_live(real.home.spoke_id)
        sent = real.run(f"echo start >> {witness}", not_before=real.end.now + 4)
        assert real.end.ack(sent.cid).state == "accepted"
    with daemon(real):
        assert real.end.result(sent.cid).state == "succeeded"
        assert witness.read_text().split() == ["start"]


def test_a_cancel_that_comes_while_the_way_is_cut_reaches_the_run(real, tmp_path):
    pid = tmp_path / "pid"
    with daemon(real):
        sent = real.run(f"echo $$ > {pid}; echo line 5; sleep 300")
        real.end.wait(lambda: b"line 5" in real.end._spool_unlocked(sent.cid), "its line")
        real.sshd.stop()
        try:
            real.end.cancel(real.home.spoke_id, sent.cid)
        finally:
            real.sshd.start()
        result = real.end.result(sent.cid, 60)
        assert (result.state, result.cancel_confirmed) == ("cancelled", True)
        assert not psutil.pid_exists(int(pid.read_text()))

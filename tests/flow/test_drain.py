"""SIGTERM of each process: it finishes what it has begun, leaves by itself with status 0, and the next one goes on.

One script runs on a machine all the while; whoever goes and comes back, it is neither ended nor begun again.
"""

import os
import signal
from contextlib import suppress

import pytest

from tests.services.whole import until

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow, pytest.mark.timeout(180)]

SCRIPT = """
echo start >> {witness}
for i in $(seq 1200); do [ -e {gate} ] && break; sleep 0.1; done
echo end >> {witness}
"""


class Rig:
    """A hub with all that stands beside it, one polling spoke, and a run that is under way."""

    def __init__(self, house, folder):
        self.house, self.witness, self.gate = house, folder / "witness", folder / "gate"
        self.folder = folder

    def begin(self):
        script = SCRIPT.format(witness=self.witness, gate=self.gate)
        task = self.house.manyarm("run", "--detach", "--to", "drained", "--", script).strip()
        until(self.witness.exists, "the script did not start")
        return task

    def ends_well(self, task):
        self.gate.touch()
        until(lambda: self.state(task) == "succeeded", lambda: f"it is {self.state(task)}", 90)
        assert self.witness.read_text().split() == ["start", "end"]

    def state(self, task):
        return self.house.call("GET", f"/tasks/{task}")["state"]

    def answers(self):
        """Whether the API does, and ours are well in its eyes; other tests of this house may have left what is not."""
        with suppress(AssertionError, OSError):
            health = {target["name"]: target["health"] for target in self.house.call("GET", "/targets")["items"]}
            return {health.get("drained"), health.get("hub")} == {"healthy"}
        return False

    def said(self):
        with suppress(AssertionError, OSError):
            return str([(row["name"], row["health"]) for row in self.house.call("GET", "/targets")["items"]])
        return "nothing"


@pytest.fixture(scope="module")
def drained(house, tmp_path_factory):
    """The house, with a polling spoke whose process is ours."""
    house.enrol("drained")
    house.start_spoke("drained")
    yield house
    house.stop_spoke("drained")
    house.manyarm("spoke", "revoke", "drained")
    house.manyarm("target", "delete", "drained", "--yes")


@pytest.fixture
def rig(drained, tmp_path):
    tmp_path.chmod(0o755)
    return Rig(drained, tmp_path)


@pytest.mark.parametrize("part", ["hub", "portal", "gateway", "relay", "ssh", "local"])
def test_a_part_that_is_told_to_go_leaves_by_itself_and_its_successor_goes_on(rig, part):
    task = rig.begin()
    pid = rig.house.part(part)
    log = rig.house.folder / "up.log"
    before = len(log.read_text())
    os.kill(pid, signal.SIGTERM)
    until(lambda: rig.house.part(part) != pid, f"{part} was not started again")
    said = [line for line in log.read_text()[before:].splitlines() if f"part={part} " in f"{line} "]
    assert any("died and is started again" in line and "status=0" in line for line in said), said
    until(rig.answers, lambda: f"{part} did not come back: {rig.said()}", 90)
    rig.ends_well(task)


def test_a_polling_spoke_that_is_told_to_go_leaves_its_job_alone_and_finds_it_again(rig):
    task = rig.begin()
    process = rig.house._spokes["drained"]
    process.terminate()
    assert process.wait(60) == 0
    rig.house.start_spoke("drained")
    rig.ends_well(task)

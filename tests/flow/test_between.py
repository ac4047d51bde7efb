"""What lies between hub and machines goes amid a script, network or carrier: it runs once, its log is whole."""

import time

import pytest

from tests.conformance.world import Conformance, seen
from tests.services.network import cable
from tests.services.requires import requires
from tests.services.whole import end, until

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow, pytest.mark.timeout(400)]

SECONDS = 20
CUT_S = 10
SCRIPT = """
echo start >> {witness}
for i in $(seq 1 {seconds}); do echo "line $i"; sleep 1; done
echo end >> {witness}
"""


class Apart(Conformance):
    """The kinds whose machines are elsewhere."""

    kinds = ("polling", "listening", "ssh")


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    requires("namespaces")
    requires("sshd")
    with cable() as laid:
        made = Apart(tmp_path_factory.mktemp("apart"), laid)
        try:
            made.install()
            made.start()
            made.fill()
            yield made, laid
        finally:
            made.stop()


def begun(world, name):
    """The script on every machine, each seen to print; tasks and witnesses by kind."""
    witnesses = {kind: world.shared / f"{name}-{kind}" for kind in world.kinds}
    tasks = {
        kind: world.begin(kind, SCRIPT.format(witness=witness, seconds=SECONDS)) for kind, witness in witnesses.items()
    }
    for task in tasks.values():
        until(lambda task=task: "line 2" in world.printed(task), "the script did not start")
    return tasks, witnesses


def ran_once(world, tasks, witnesses):
    for kind, task in tasks.items():
        world.until_succeeded(task, 180)
        world.until_log_complete(task)
        assert seen(witnesses[kind]) == ["start", "end"], kind
        assert world.printed(task) == [f"line {number}" for number in range(1, SECONDS + 1)], (
            f"{kind}: {world.log(task)}"
        )
    for kind in world.kinds:
        world.run_script(kind, "true")


@pytest.mark.parametrize(
    "cut", ["cut", "cut_from_far", "cut_to_far"], ids=["both ways", "from machines", "to machines"]
)
def test_a_network_that_goes_amid_a_script_costs_nothing(apart, cut):
    world, laid = apart
    tasks, witnesses = begun(world, cut)
    getattr(laid, cut)()
    time.sleep(CUT_S)
    laid.heal()
    ran_once(world, tasks, witnesses)


def test_a_relay_and_an_ssh_spoke_that_are_killed_amid_a_script_cost_nothing(apart):
    """`manyarm up` starts both again."""
    world, _ = apart
    tasks, witnesses = begun(world, "killed")
    for part in ("relay", "ssh"):
        end(world.part(part))
    ran_once(world, tasks, witnesses)

"""What stands between hub and target ends itself at its crash points; `manyarm up` starts it again, and the job is whole."""

from pathlib import Path

import psutil
import pytest

from tests.conformance.world import Conformance, seen
from tests.crash.points import Row, trials
from tests.services.whole import until

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow, pytest.mark.timeout(300)]

LINES = 10
SCRIPT = """
echo start >> {witness}
for i in $(seq 1 {lines}); do echo "line $i"; sleep 0.2; done
echo end >> {witness}
"""


def all_run(world: Conformance) -> bool:
    pids = [pid for kind in world.kinds for pid in world.carriers(kind)]
    return all(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids)


@pytest.mark.parametrize("row", trials("carrier"))
def test_what_carries_a_job_ends_there_and_the_job_is_whole(world: Conformance, witness: Path, row: Row) -> None:
    """`amid` is the kind of target that the script runs on."""
    until(lambda: all_run(world), "somebody is not there")
    world.until_healthy(row.amid)
    before = {kind: world.carriers(kind) for kind in world.kinds}
    world.crash_order.write_text(row.point)
    world.crash_order.chmod(0o666)
    try:
        task = world.begin(row.amid, SCRIPT.format(witness=witness, lines=LINES))
        until(lambda: not world.crash_order.exists(), "the point was not reached")
        found = world.until_ended(task)
    finally:
        world.crash_order.unlink(missing_ok=True)
    starts = seen(witness).count("start")
    assert (found["state"] in row.ends, starts in row.starts) == (True, True), (found, starts)
    if found["state"] == "succeeded":
        world.until_log_complete(task)
        assert seen(witness) == ["start", "end"]
        assert world.printed(task) == [f"line {number + 1}" for number in range(LINES)]
    others = [kind for kind in world.kinds if kind != row.amid]
    assert {kind: world.carriers(kind) for kind in others} == {kind: before[kind] for kind in others}

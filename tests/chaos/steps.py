"""Scripts under way on a fleet, each with a witness of its own, and what must have become of them."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.fleet import Fleet
from tests.conformance.world import seen
from tests.services.whole import until

_COUNTING = """
echo start >> {witness}
for i in $(seq 1 {seconds}); do echo "line $i"; sleep 1; done
echo end >> {witness}
"""


@dataclass(frozen=True, slots=True)
class Counting:
    """A script that prints a line a second."""

    target: str
    task: str
    witness: Path
    seconds: int

    @property
    def started(self) -> bool:
        return "start" in seen(self.witness)


def begun(fleet: Fleet, seconds: dict[str, list[int]]) -> list[Counting]:
    """For each target scripts of so many seconds, all seen to have started, and the hub has heard of it."""
    made = []
    for target, lengths in seconds.items():
        for length in lengths:
            witness = fleet.shared / secrets.token_hex(8)
            task = fleet.begin(target, _COUNTING.format(witness=witness, seconds=length), timeout_s=3_600)
            made.append(Counting(target, task, witness, length))
    for one in made:
        until(lambda one=one: one.started, lambda one=one: f"the script on {one.target} did not start")
        until(lambda one=one: fleet.printed(one.task), lambda one=one: f"nothing is heard of {one.target}")
    return made


def must_have_run_once(fleet: Fleet, counting: list[Counting], limit_s: float = 240) -> None:
    """One start, one end, success, every line once, in order or told to be late, and a log that is called complete."""
    for one in counting:
        fleet.until_succeeded(one.task, limit_s)
        fleet.until_log_complete(one.task)
        assert seen(one.witness) == ["start", "end"], one
        expected = [f"line {number}" for number in range(1, one.seconds + 1)]
        printed, log = fleet.printed(one.task), fleet.log(one.task)
        if "late: records " in log:
            printed.sort(key=expected.index)
        assert printed == expected, f"{one.target}:\n{log}"


def health_of(fleet: Fleet, target: str) -> str:
    found = [row for row in fleet.call("GET", "/targets")["items"] if row["name"] == target]
    return str(found[0]["health"])

"""F14, F18, F19: a broker that takes nothing, a reader who reads by drips, a script that prints a gigabyte."""

import hashlib
import http.client
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hub.broker.node import NodeCredentials, PrivateNode
from tests.chaos.fleet import Fleet
from tests.chaos.proxy import Trouble, Way, proxied
from tests.conformance.world import seen
from tests.services.whole import until

pytestmark = [pytest.mark.rabbitmq, pytest.mark.chaos, pytest.mark.timeout(1_800)]

MB = 1_000_000


@contextmanager
def broker_full(fleet: Fleet) -> Iterator[None]:
    """It believes that its disk is full, and blocks whoever publishes."""
    limit(fleet, "999999GB")
    try:
        yield
    finally:
        limit(fleet, "50MB")


def limit(fleet: Fleet, size: str) -> None:
    node = PrivateNode(fleet.home, ("127.0.0.1", 0), credentials=NodeCredentials("", ""))
    left = node._recorded()
    assert left is not None
    environ = node._layout.environment(left.ports) | {
        "RABBITMQ_CTL_DIST_PORT_MIN": "35673",
        "RABBITMQ_CTL_DIST_PORT_MAX": "35693",
    }
    words = ["/usr/lib/rabbitmq/bin/rabbitmqctl", "set_disk_free_limit", size]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def resident(fleet: Fleet, name: str) -> int:
    process = fleet.processes()[name]
    return sum(int(one.memory_info().rss) for one in (process, *process.children(recursive=True)))


def test_f14_while_the_broker_blocks_the_hub_is_read_takes_work_and_says_why_it_waits(whole_field):
    witness = whole_field.shared / "blocked"
    with broker_full(whole_field):
        # The first to publish is told; what it publishes counts later.
        task = whole_field.begin("polling", f"echo ran >> {witness}")
        before = resident(whole_field, "hub")
        for _ in range(50):
            assert whole_field.call("GET", "/targets")["items"]
        until(
            lambda: "the broker takes no messages" in whole_field.task(task)["waiting_for"],
            lambda: f"it says: {whole_field.task(task)['waiting_for']}",
        )
        assert seen(witness) == []
        assert resident(whole_field, "hub") - before < 100 * MB
    whole_field.until_whole()
    whole_field.run_script("polling", "true")
    # It waited for longer than its pick-up time allows, or not.
    succeeded = whole_field.until_ended(task)["state"] == "succeeded"
    assert seen(witness) == (["ran"] if succeeded else [])


class Reader:
    """Of a task's live log, as a browser reads it."""

    def __init__(self, fleet: Fleet, port: int, task: str, after: int) -> None:
        self._line = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        key = {"Authorization": f"Bearer {fleet.environ['MANYARM_API_KEY']}", "Last-Event-ID": str(after)}
        self._line.request("GET", f"/api/v1/tasks/{task}/stream", headers=key)
        self._answer = self._line.getresponse()
        self.last = after

    def lines(self) -> Iterator[tuple[int, str]]:
        """Number and text, to the end of the stream or the task."""
        found: dict[str, str] = {}
        for raw in self._answer:
            name, _, value = raw.decode().rstrip("\n").partition(": ")
            if name:
                found[name] = value
                continue
            if found.get("event") == "end":
                return
            if found.get("event") == "log":
                self.last = int(found["id"])
                yield self.last, json.loads(found["data"])["text"]
            found = {}

    def close(self) -> None:
        self._line.close()


def test_f18_a_reader_by_drips_holds_nobody_up_and_goes_on_where_it_stopped(whole_field):
    portal = int(whole_field.url.rpartition(":")[2])
    before = resident(whole_field, "portal")
    with proxied(portal) as door:
        task = whole_field.begin("polling", 'for i in $(seq 1 20000); do echo "line $i $(printf %0500d $i)"; done')
        until(lambda: whole_field.printed(task), "the script does not print")
        slow = Reader(whole_field, door.port, task, 0)
        first = [next(slow.lines())[0] for _ in range(3)]
        door.meet(Trouble(Way.DOWN, bytes_per_s=1_024))
        # Meanwhile another one reads all of it.
        whole_field.until_succeeded(task)
        quick = Reader(whole_field, portal, task, 0)
        numbers = [number for number, _ in quick.lines()]
        whole_field.run_script("polling", "true")
        assert resident(whole_field, "portal") - before < 150 * MB
        slow.close()
        door.heal()
        again = Reader(whole_field, door.port, task, slow.last)
        assert first + [number for number, _ in again.lines()] == numbers[: len(first)] + numbers[slow.last :]
        assert numbers == list(range(1, len(numbers) + 1))


def test_f19_a_gigabyte_of_output_is_whole_and_costs_no_memory(whole_field):
    """A thousand bytes a line, a million lines."""
    before = {name: resident(whole_field, name) for name in ("hub", "polling")}
    most = dict(before)
    script = "import sys\nfor i in range(1_000_000):\n    sys.stdout.write(f'{i:0>999}\\n')\n"
    task = whole_field.begin("polling", script, shell="python", timeout_s=1_500)

    def ended() -> bool:
        for name, known in list(most.items()):
            most[name] = max(known, resident(whole_field, name))
        return bool(whole_field.task(task)["ended_at"])

    until(ended, "it does not end", 1_500)
    whole_field.until_succeeded(task)
    whole_field.until_log_complete(task)
    digest, count = hashlib.sha256(), 0
    for line in whole_field.lines(task):
        if line["level"] == "stdout":
            digest.update(line["text"].encode() + b"\n")
            count += 1
    expected = hashlib.sha256()
    for number in range(1_000_000):
        expected.update(f"{number:0>999}\n".encode())
    assert (count, digest.hexdigest()) == (1_000_000, expected.hexdigest())
    grown = {name: (most[name] - before[name]) / MB for name in most}
    print(f"F19: memory grew by at most {grown} MB")
    assert max(grown.values()) < 300, grown

"""Two engines on one PostgreSQL and one broker: both work, either may be stopped or killed, and no task notices.

The first one hears the spokes, for it came first. It is stopped amid runs, long enough to lose everything that it
holds, and woken; then the second one, which hears them by now, is killed.
"""

import json
import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from tests.services.requires import requires
from tests.services.whole import BIN, Whole, end, until

pytestmark = [pytest.mark.rabbitmq, pytest.mark.postgres, pytest.mark.slow, pytest.mark.timeout(300)]

AT_ONCE = 4
LINES = 30
SCRIPT = """
echo "start {run}" >> {witness}
for i in $(seq 1 {half}); do echo "line $i"; done
for i in $(seq 1200); do [ -e {gate} ] && break; sleep 0.1; done
for i in $(seq {more} {lines}); do echo "line $i"; done
echo "end {run}" >> {witness}
"""


class Pair:
    """A hub whose `manyarm up` keeps one engine, and another engine beside it."""

    def __init__(self, folder, url):
        self.url = url
        self.whole = Whole(folder, MANYARM_DATABASE_URL=url)
        self.second = None

    def start(self):
        self.whole.install()
        self.whole.start()
        self.start_second()
        self.whole.enrol("web-1", "web")
        self.whole.start_spoke("web-1")

    def start_second(self):
        node = json.loads((self.whole.home / "broker" / "node.json").read_text())
        environ = self.whole.environ | {
            "MANYARM_BROKER_ADMIN_URL": f"http://127.0.0.1:{node['ports']['management']}",
            "MANYARM_LOG_FILE": "",
        }
        with (self.whole.folder / "second.log").open("ab") as log:
            self.second = subprocess.Popen(
                [BIN / "manyarm", "hub"], env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until(lambda: self.pid_of_a_node(self.second.pid), "the second engine did not arrive", 60)

    def stop(self):
        for pid in (self.whole.part("hub"), self.second and self.second.pid):
            with suppress(ProcessLookupError, TypeError):
                os.kill(pid, signal.SIGCONT)
        if self.second is not None:
            self.second.terminate()
            self.second.wait(30)
        self.whole.stop()

    def rows(self, statement, *values):
        with psycopg.connect(self.url, autocommit=True) as database:
            return database.execute(statement, values).fetchall()

    def pid_of_a_node(self, pid):
        return any(json.loads(mark)["pid"] == pid for (mark,) in self.rows("SELECT mark FROM node"))


@pytest.fixture(scope="module")
def pair(tmp_path_factory, module_postgres_url):
    requires("rabbitmq")
    made = Pair(tmp_path_factory.mktemp("pair"), module_postgres_url)
    try:
        made.start()
        yield made
    finally:
        made.stop()


class Runs:
    """Some runs under way, each half done, which wait for a gate."""

    def __init__(self, pair, folder):
        self.pair, self.witness, self.gate = pair, folder / "witness", folder / "gate"
        self.tasks = [self.begin(number) for number in range(AT_ONCE)]
        until(lambda: self.said().count("start") == AT_ONCE, lambda: f"they did not start: {self.said()}")

    def begin(self, run):
        script = SCRIPT.format(
            run=run, witness=self.witness, gate=self.gate, lines=LINES, half=LINES // 2, more=LINES // 2 + 1
        )
        return self.pair.whole.manyarm("run", "--detach", "--to", "web-1", "--", script).strip()

    def said(self):
        return [line.split()[0] for line in self.witness.read_text().splitlines()] if self.witness.exists() else []

    def state(self, task):
        return self.pair.whole.call("GET", f"/tasks/{task}")["state"]

    def end_well(self):
        """All end as they should, in rows, in the log and on the machine, and each thing happened once."""
        self.gate.touch()
        until(lambda: {self.state(task) for task in self.tasks} == {"succeeded"}, self.states, 120)
        self.are_as_they_were()

    def are_as_they_were(self):
        said = self.witness.read_text().splitlines()
        assert sorted(said) == sorted(f"{word} {run}" for run in range(len(self.tasks)) for word in ("start", "end"))
        for task in self.tasks:
            lines = self.pair.whole.call("GET", f"/tasks/{task}/log?limit=1000")["items"]
            assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
            assert [line["text"] for line in lines if line["level"] == "stdout"] == [
                f"line {number + 1}" for number in range(LINES)
            ]
            assert self.pair.rows("SELECT state, attempt, log_state FROM job WHERE task_id = %s", task) == [
                ("succeeded", 1, "complete")
            ]
            ends = self.pair.rows("SELECT action FROM event WHERE object = %s ORDER BY seq", f"task:{task}")
            assert [action for (action,) in ends if action.endswith((".succeeded", ".failed", ".unknown"))] == [
                "script-run.succeeded"
            ]

    def states(self):
        return str([self.state(task) for task in self.tasks])


def test_f27_a_stopped_engine_is_not_missed_and_wakes_to_nothing_and_the_other_one_may_be_killed_then(pair, tmp_path):
    folders = [tmp_path / name for name in ("stopped", "killed")]
    for folder in folders:
        folder.mkdir()
    first = pair.whole.part("hub")
    runs = Runs(pair, folders[0])
    os.kill(first, signal.SIGSTOP)
    # What people ask for meanwhile is begun too, although half of it is put before the engine that sleeps.
    runs.tasks += [runs.begin(AT_ONCE), runs.begin(AT_ONCE + 1)]
    runs.end_well()
    until(lambda: not pair.pid_of_a_node(first), "nobody noticed that it is gone", 60)
    os.kill(first, signal.SIGCONT)
    until(lambda: pair.pid_of_a_node(first), "it did not come back", 60)
    later = Runs(pair, folders[1])
    runs.are_as_they_were()
    end(pair.second.pid)
    pair.second.wait()
    later.tasks.append(later.begin(AT_ONCE))
    later.end_well()
    until(lambda: not pair.pid_of_a_node(pair.second.pid), "nobody noticed that it is dead", 60)
    assert "every one chained to the one before it" in pair.whole.manyarm("audit", "verify")


@pytest.mark.chaos
@pytest.mark.parametrize("seed", range(6))
def test_f27_engines_stopped_and_killed_at_random_moments_amid_a_burst_lose_and_double_nothing(pair, tmp_path, seed):
    chance = random.Random(seed)
    if pair.second.poll() is not None:
        pair.start_second()
    runs = Runs(pair, tmp_path)
    runs.gate.touch()
    victim = chance.choice([pair.second.pid, pair.whole.part("hub")])
    for _ in range(4):
        runs.tasks.append(runs.begin(len(runs.tasks)))
        time.sleep(chance.uniform(0, 0.4))
    stops = chance.random() < 0.5
    print(f"seed {seed}: {'stop' if stops else 'kill'} {victim}")
    os.kill(victim, signal.SIGSTOP if stops else signal.SIGKILL)
    runs.tasks += [runs.begin(len(runs.tasks) + more) for more in range(3)]
    runs.end_well()
    if stops:
        os.kill(victim, signal.SIGCONT)
    time.sleep(2)  # Whatever one that wakes might do.
    runs.are_as_they_were()


def test_up_that_is_told_to_go_takes_its_parts_along_and_the_next_one_goes_on(pair, tmp_path):
    runs = Runs(pair, tmp_path)
    parts = [pair.whole.part(name) for name in ("hub", "gateway", "portal")]
    os.kill(pair.whole.up_pid(), signal.SIGTERM)
    assert pair.whole.up_status() == 0
    assert [pid for pid in parts if Path(f"/proc/{pid}").exists()] == []
    pair.whole.start()
    runs.end_well()

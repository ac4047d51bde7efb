"""kill -9 of the engine, of the broker node and of the spoke, each amid a script: it runs once, and its log is whole."""

import json
import time

import pytest

from tests.services.whole import end, until

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow]

SECONDS = 20
SCRIPT = """
echo "start $$" >> {witness}
for i in $(seq 1 {seconds}); do echo "line $i"; sleep 1; done
echo "end $$" >> {witness}
"""


def kill_engine(whole):
    end(whole.part("hub"))


def kill_broker(whole):
    end(whole.broker_pid())


def kill_spoke(whole):
    whole.kill_spoke("web-1")
    whole.start_spoke("web-1")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kill", [kill_engine, kill_broker, kill_spoke], ids=["engine", "broker", "spoke"])
def test_a_kill_amid_a_script_costs_nothing(whole, tmp_path, kill):
    witness = tmp_path / "witness"
    script = SCRIPT.format(witness=witness, seconds=SECONDS)
    task = whole.manyarm("run", "--detach", "--to", "web-1", "--", script).strip()
    until(lambda: "line 5" in whole.manyarm("task", "logs", task), "the script did not start")
    kill(whole)
    until(witness_has_end(witness), "the script did not end", 60)
    until(lambda: state_of(whole, task) == "succeeded", f"the task is {state_of(whole, task)}", 90)
    assert [line.split()[0] for line in witness.read_text().splitlines()] == ["start", "end"]
    lines = [json.loads(line) for line in whole.manyarm("task", "logs", "--json", task).splitlines()]
    assert [line["text"] for line in lines if line["target"] == "web-1"] == [f"line {i + 1}" for i in range(SECONDS)]
    assert whole.json("task", "show", task, "--json")["steps"][0]["targets"][0]["log"] == "complete"
    # Nobody restarted anything but what was killed: the next run works at once.
    whole.until_healthy("web-1")
    whole.manyarm("run", "--to", "web-1", "--", "true")


def witness_has_end(witness):
    return lambda: witness.exists() and "end" in witness.read_text()


def state_of(whole, task):
    for _ in range(40):
        done = whole.run("manyarm", "task", "show", task, "--json")
        if done.returncode == 0:
            return json.loads(done.stdout)["state"]
        time.sleep(0.5)
    return "not to be read"

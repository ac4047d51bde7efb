"""Keys of hub and spoke are replaced amid a script: it runs once, succeeds, and its log is whole."""

import json

import pytest

from tests.flow.test_kills import SCRIPT, state_of, witness_has_end
from tests.services.whole import until

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow]

SECONDS = 10


def thumbprint(whole):
    (found,) = [spoke for spoke in whole.json("spoke", "list", "--json") if spoke["name"] == "web-1"]
    return found["thumbprint"]


@pytest.mark.timeout(180)
def test_command_box_and_spoke_keys_change_amid_a_script(whole, tmp_path):
    witness, before = tmp_path / "witness", thumbprint(whole)
    script = SCRIPT.format(witness=witness, seconds=SECONDS)
    task = whole.manyarm("run", "--detach", "--to", "web-1", "--", script).strip()
    until(lambda: "line 2" in whole.manyarm("task", "logs", task), "the script did not start")
    for name in ("command", "box", "rows", "portal"):
        whole.manyarm("key", "rotate", name)
    whole.manyarm("spoke", "rotate", "web-1")
    until(lambda: thumbprint(whole) != before, "the spoke's key did not change", 40)
    assert whole.spoke("web-1", "thumbprint").strip() == thumbprint(whole)
    until(witness_has_end(witness), "the script did not end", 60)
    until(lambda: state_of(whole, task) == "succeeded", f"the task is {state_of(whole, task)}", 90)
    assert [line.split()[0] for line in witness.read_text().splitlines()] == ["start", "end"]
    lines = [json.loads(line) for line in whole.manyarm("task", "logs", "--json", task).splitlines()]
    assert [line["text"] for line in lines if line["target"] == "web-1"] == [f"line {i + 1}" for i in range(SECONDS)]
    assert whole.json("task", "show", task, "--json")["steps"][0]["targets"][0]["log"] == "complete"
    # The next run goes out under the new keys, after a restart of the spoke as well.
    whole.manyarm("run", "--to", "web-1", "--", "true")
    whole.kill_spoke("web-1")
    whole.start_spoke("web-1")
    whole.manyarm("run", "--to", "web-1", "--", "true")

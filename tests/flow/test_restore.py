"""F26: a hub is put back to its last backup while its spokes are ahead of it: they are believed, and nothing runs again."""

import json
import os
import signal

import pytest

from tests.flow.test_kills import state_of
from tests.services.requires import requires
from tests.services.whole import Whole, until

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow]

# Each run writes what it does to the witness; it goes on when the file of its name appears.
SCRIPT = """
echo "start {name}" >> {folder}/witness
echo "line of {name}"
while [ ! -e {folder}/{name} ]; do sleep 0.2; done
echo "last of {name}"
echo "end {name}" >> {folder}/witness
"""
PROJECT = """
kind: Lifecycle
name: Steps
phases: [{{name: Try, environments: [Test]}}]
---
kind: Project
name: Steps
lifecycle: Steps
process:
  - name: First
    kind: run-script
    roles: [web]
    shell: bash
    script: |
{first}
  - name: Second
    kind: run-script
    roles: [web]
    shell: bash
    script: |
{second}
"""


@pytest.fixture
def hub(tmp_path):
    requires("rabbitmq")
    made = Whole(tmp_path, MANYARM_LIMIT_HEARTBEAT_S="1")
    try:
        made.install()
        made.start()
        (tmp_path / "places.yaml").write_text("kind: Environment\nname: Test\n")
        made.manyarm("apply", "-f", str(tmp_path / "places.yaml"))
        for name, role in (("web-1", "web"), ("web-2", "other")):
            made.enrol(name, role, environments=("Test",))
            made.start_spoke(name)
        yield made
    finally:
        for name in ("first", "second", "long", "late"):
            (tmp_path / name).touch()
        made.stop()


def script(hub, name):
    return SCRIPT.format(name=name, folder=hub.folder)


def begin(hub, name, target="web-1"):
    return hub.manyarm("run", "--detach", "--to", target, "--", script(hub, name)).strip()


def witness(hub):
    path = hub.folder / "witness"
    return path.read_text().splitlines() if path.exists() else []


def lines_of(hub, task):
    found = [json.loads(line) for line in hub.manyarm("task", "logs", "--json", task).splitlines()]
    return [line["text"] for line in found if line["level"] == "stdout"]


def installed_epoch(hub):
    (event,) = hub.call("GET", "/events?action=backup.restore")["items"]
    return event["detail"]["epoch"]


def stop_hub(hub):
    os.kill(hub.up_pid(), signal.SIGTERM)
    until(lambda: not (hub.home / "run" / "state.json").exists(), "the hub did not leave")
    (hub.folder / "up.log").rename(hub.folder / "up-before.log")


def deploy(hub):
    def indented(name):
        return "\n".join(f"      {line}" for line in script(hub, name).strip().splitlines())

    text = PROJECT.format(first=indented("first"), second=indented("second"))
    (hub.folder / "project.yaml").write_text(text)
    hub.manyarm("apply", "-f", str(hub.folder / "project.yaml"))
    hub.manyarm("release", "create", "Steps", "--version", "1.0.0")
    return hub.json("deploy", "Steps", "--release", "1.0.0", "--to", "Test", "--json")["task"]


@pytest.mark.timeout(300)
def test_spokes_that_are_ahead_of_a_restored_hub_are_believed_and_nothing_runs_again(hub):
    (hub.folder / "short").touch()
    ended = begin(hub, "short")
    until(lambda: state_of(hub, ended) == "succeeded", "the first run did not end")
    said = lines_of(hub, ended)
    deployment, long = deploy(hub), begin(hub, "long")
    hub.kill_spoke("web-2")
    late = begin(hub, "late", "web-2")
    until(lambda: {"start first", "start long"} <= set(witness(hub)), "the scripts did not start")

    hub.manyarm("backup", "create", str(hub.folder / "night.mab"))

    # The day that will be forgotten: what was under way ends, more is done, keys are replaced.
    (hub.folder / "first").touch()
    (hub.folder / "second").touch()
    until(lambda: state_of(hub, deployment) == "succeeded", "the deployment did not end")
    (hub.folder / "forgotten").touch()
    forgotten = begin(hub, "forgotten")
    until(lambda: state_of(hub, forgotten) == "succeeded", "the run of the day did not end")
    hub.manyarm("key", "rotate", "command")
    stop_hub(hub)

    refused = hub.run("manyarm", "backup", "restore", str(hub.folder / "night.mab"))
    assert refused.returncode == 2
    assert "--replace" in refused.stderr
    hub.manyarm("backup", "restore", str(hub.folder / "night.mab"), "--replace")
    hub.start()

    hub.until_healthy("web-1")
    until(lambda: state_of(hub, deployment) == "succeeded", lambda: hub.manyarm("task", "show", deployment), 90)
    assert hub.run("manyarm", "task", "show", forgotten).returncode == 4
    assert lines_of(hub, ended) == said
    assert state_of(hub, long) not in ("unknown", "cancelled", "failed")
    (hub.folder / "long").touch()
    until(lambda: state_of(hub, long) == "succeeded", lambda: hub.manyarm("task", "show", long), 90)
    # What the hub had heard and forgot, it asks for again; what comes late may stand behind.
    until(lambda: sorted(lines_of(hub, long)) == ["last of long", "line of long"], lambda: str(lines_of(hub, long)), 90)
    # Its command waited for it all day, and is worth nothing now.
    hub.start_spoke("web-2")
    until(lambda: state_of(hub, late) == "cancelled", lambda: hub.manyarm("task", "show", late), 90)
    assert "never will" in hub.manyarm("task", "logs", late)

    # The log is shorter than the spoke has seen it, and the new epoch says why.
    watched = json.loads(hub.run("manyarm-spoke", "--home", str(hub.spoke_home("web-1")), "status", "--json").stdout)
    assert watched["audit_alarm"] == ""
    assert str(installed_epoch(hub)) in watched["audit"]

    # The next day begins.
    (hub.folder / "next").touch()
    hub.manyarm("run", "--to", "web-1", "--", script(hub, "next"))
    seen = witness(hub)
    names = ("short", "first", "second", "long", "forgotten", "next")
    assert sorted(seen) == sorted(f"{word} {name}" for word in ("start", "end") for name in names)
    events = hub.call("GET", "/events?action=backup.restore")["items"]
    assert len(events) == 1
    assert "backup" in hub.run("manyarm", "doctor").stdout

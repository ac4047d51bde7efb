"""A hub that comes back with another runner: what runs ends on the old one, as does its plan; what comes after has the new."""

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.services.requires import requires
from tests.services.whole import Whole, until

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
# The folder of the runner that this script's supervisor was started from.
WHICH = "tr '\\0' '\\n' < /proc/$PPID/cmdline | grep runners/"
PROJECT = f"""
kind: Environment
name: Test
---
kind: Lifecycle
name: Two
phases: [{{{{name: Try, environments: [Test]}}}}]
---
kind: Project
name: Two
lifecycle: Two
process:
  - name: First
    kind: run-script
    roles: [web]
    script: |
      {WHICH}
      echo first runs
      while [ ! -e {{go}} ]; do sleep 0.1; done
  - name: Second
    kind: run-script
    roles: [web]
    script: |
      {WHICH}
"""


@pytest.fixture
def hub(tmp_path):
    requires("rabbitmq")
    made = Whole(tmp_path)
    try:
        made.install()
        made.start()
        (tmp_path / "project.yaml").write_text(PROJECT.format(go=tmp_path / "go"))
        made.manyarm("apply", "-f", str(tmp_path / "project.yaml"))
        made.enrol("web-1", "web", environments=("Test",))
        made.start_spoke("web-1")
        made.manyarm("release", "create", "Two", "--version", "1.0.0")
        yield made
    finally:
        made.stop()


def upgrade(hub: Whole, folder: Path) -> None:
    """Stop the hub, and start one whose runner has another number; nobody touches the spoke."""
    shutil.copytree(ROOT / "runner", folder / "runner", ignore=shutil.ignore_patterns("__pycache__"))
    release = folder / "runner/release.py"
    release.write_text(
        re.sub(r"RELEASE = (\d+)", lambda found: f"RELEASE = {int(found.group(1)) + 1}", release.read_text())
    )
    hub._up.terminate()
    hub._up.wait(60)
    (hub.folder / "up.log").rename(hub.folder / "up-before.log")
    hub.environ["PYTHONPATH"] = str(folder)
    hub.start()
    del hub.environ["PYTHONPATH"]
    hub.until_healthy("web-1")


def runners_of(hub: Whole, task: str) -> list[str]:
    lines = [json.loads(line)["text"] for line in hub.manyarm("task", "logs", "--json", task).splitlines()]
    return [found.group(1) for line in lines if (found := re.search(r"runners/([0-9a-f]{64})", line))]


@pytest.mark.timeout(300)
def test_a_running_plan_ends_on_its_runner_and_the_next_job_has_the_new_one(hub, tmp_path):
    spoke = hub._spokes["web-1"].pid
    task = hub.json("deploy", "Two", "--release", "1.0.0", "--to", "Test", "--json")["task"]
    until(lambda: "first runs" in hub.manyarm("task", "logs", task), "the first step did not start")
    upgrade(hub, tmp_path / "upgraded")
    (tmp_path / "go").touch()
    until(lambda: hub.json("task", "show", task, "--json")["state"] == "succeeded", "the task did not succeed", 90)
    first, second = runners_of(hub, task)
    assert first == second
    after = hub.manyarm("run", "--detach", "--to", "web-1", "--", WHICH).strip()
    until(lambda: hub.json("task", "show", after, "--json")["state"] == "succeeded", "the run did not succeed", 90)
    (newer,) = runners_of(hub, after)
    assert newer != first
    kept = {path.name for path in (hub.spoke_home("web-1") / "runners").iterdir()}
    assert {first, newer} <= kept
    assert hub._spokes["web-1"].pid == spoke
    assert hub._spokes["web-1"].poll() is None
    shown = hub.json("target", "show", "web-1", "--json")
    assert re.fullmatch(r"3\.\d+\.\d+", shown["python"])

"""Health with real parts: spokes that are killed and come back, an sshd that stops answering, and their policies."""

import json

import pytest

from tests.flow.conftest import archive
from tests.services.sshd import running_sshd
from tests.services.whole import until

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow]

FILE = """
kind: Environment
name: Ward
---
kind: Lifecycle
name: Ward
phases:
  - {name: Only, environments: [Ward]}
---
kind: Account
name: Deploy
type: ssh-key
fields: {user: "%s"}
secrets:
  private_key: {value_from_env: FLOW_SSH_KEY}
---
kind: MachinePolicy
name: leave-out
unavailable: skip
catch_up: true
---
kind: MachinePolicy
name: patient
unavailable: wait
wait_s: 600
---
kind: MachinePolicy
name: scripted
script: |
  warn "the disk is rather full"
---
kind: Project
name: Wards
lifecycle: Ward
process:
  - name: Install
    kind: deploy-package
    roles: [web]
    package: wards
    rolling: "100%%"
    properties: {install_to: "#{Manyarm.Home}/site"}
"""


@pytest.fixture(scope="module")
def sshd(tmp_path_factory):
    with running_sshd(tmp_path_factory.mktemp("flow") / "sshd") as sshd:
        yield sshd


@pytest.fixture(scope="module")
def ward(house, sshd):
    """Two beds, each a spoke, and releases for them."""
    house.environ["FLOW_SSH_KEY"] = sshd.client_key
    (house.folder / "ward.yaml").write_text(FILE % sshd.user)
    house.manyarm("apply", "-f", str(house.folder / "ward.yaml"))
    for name in ("bed-1", "bed-2"):
        house.enrol(name, "web", environments=("Ward",))
        house.start_spoke(name)
    for version in ("1.0.0", "1.0.1", "1.0.2"):
        file = house.folder / f"wards.{version}.tar"
        archive(file, {"index.html": f"<p>{version}</p>\n"})
        house.manyarm("package", "push", str(file))
        house.manyarm("release", "create", "Wards", "--version", version)
    return house


def health(ward, name):
    shown = ward.json("target", "show", name, "--json")
    return shown["health"], shown["health_reason"]


def kill(ward, name):
    ward.kill_spoke(name)
    until(lambda: health(ward, name)[0] == "unavailable", f"{name} is not missed")


def site(ward, name):
    page = ward.spoke_home(name) / "site" / "current" / "index.html"
    return page.read_text() if page.exists() else ""


def test_a_target_that_is_skipped_catches_up_when_it_is_back(ward):
    ward.manyarm("target", "set-policy", "bed-2", "leave-out")
    kill(ward, "bed-2")
    plan = json.loads(ward.manyarm("deploy", "Wards", "--release", "1.0.0", "--to", "Ward", "--plan", "--json"))["plan"]
    assert "bed-2 is left out: it is unavailable (no heartbeat since" in plan["warnings"][0]
    assert plan["warnings"][0].endswith("its policy 'leave-out' skips it; it catches up when it is back")
    ward.manyarm("deploy", "Wards", "--release", "1.0.0", "--to", "Ward", "--watch")
    assert (site(ward, "bed-1"), site(ward, "bed-2")) == ("<p>1.0.0</p>\n", "")
    ward.start_spoke("bed-2")
    until(lambda: site(ward, "bed-2") == "<p>1.0.0</p>\n", "it did not catch up")
    until(lambda: ward.json("task", "list", "--limit", "1", "--json")[0]["state"] == "succeeded", "it goes on")
    (task,) = ward.json("task", "list", "--limit", "1", "--json")
    assert task["title"] == "Catch up bed-2: Wards 1.0.0 to Ward"


def test_a_deployment_waits_for_a_target_as_long_as_its_policy_says_and_says_so(ward):
    ward.manyarm("target", "set-policy", "bed-2", "patient")
    kill(ward, "bed-2")
    task = ward.json("deploy", "Wards", "--release", "1.0.1", "--to", "Ward", "--json")["task"]

    def waits():
        return ward.json("task", "show", task, "--json")["waiting_for"]

    words = until(waits, "nobody says what it waits for")
    assert words.startswith("waits for bed-2: last heartbeat ")
    assert words.endswith(" UTC by policy 'patient'")
    ward.start_spoke("bed-2")
    until(lambda: ward.json("task", "show", task, "--json")["state"] == "succeeded", "it did not go on")
    assert site(ward, "bed-2") == "<p>1.0.1</p>\n"


def test_a_policys_script_says_how_a_machine_is(ward):
    ward.manyarm("target", "set-policy", "bed-1", "scripted")
    until(lambda: health(ward, "bed-1")[0] == "warning", lambda: f"bed-1 is {health(ward, 'bed-1')}")
    assert health(ward, "bed-1") == ("warning", "health script: the disk is rather full")
    ward.manyarm("target", "set-policy", "bed-1", "Default")
    until(lambda: health(ward, "bed-1")[0] == "healthy", lambda: f"bed-1 is {health(ward, 'bed-1')}")


def test_an_ssh_machine_is_looked_at_as_soon_as_its_key_is_confirmed_and_again_when_asked(ward, sshd):
    until(
        lambda: any(s["name"] == "hub-ssh" and s["state"] == "trusted" for s in ward.json("spoke", "list", "--json")),
        "the ssh spoke did not join",
    )
    words = ("--account", "Deploy", "--home", str(ward.folder / "there"), "--environment", "Ward")
    added = ward.run("manyarm", "target", "add-ssh", "bed-3", f"{sshd.host}:{sshd.port}", *words)
    assert health(ward, "bed-3") == ("unknown", "its host key is not confirmed")
    shown = next(word for word in added.stderr.split() if word.startswith("SHA256:"))
    ward.manyarm("target", "confirm-host-key", "bed-3", "--fingerprint", shown)
    until(lambda: health(ward, "bed-3")[0] == "healthy", lambda: f"bed-3 is {health(ward, 'bed-3')}")
    sshd.stop()
    done = ward.run("manyarm", "target", "check", "bed-3", "--watch")
    assert done.returncode == 1
    assert health(ward, "bed-3")[0] == "unavailable"
    assert "nothing listens at" in health(ward, "bed-3")[1]
    sshd.start()
    # Who was in vain a moment ago rests before the next attempt; until then a check tells what that one met.
    until(lambda: ward.run("manyarm", "target", "check", "bed-3", "--watch").returncode == 0, "it is not reached again")
    assert health(ward, "bed-3") == ("healthy", "")

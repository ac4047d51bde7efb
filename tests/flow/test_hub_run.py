"""Steps that run on the hub: by the local spoke that `manyarm up` keeps there, which joins by itself."""

import hashlib
import os
import shutil
import subprocess

import pytest

from tests.services.whole import end, until

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow]

PROJECT = """
kind: Environment
name: Test
---
kind: Lifecycle
name: House
phases:
  - {name: Try, environments: [Test]}
---
kind: Project
name: House
lifecycle: House
variables:
  - {name: Token, secret: true, value_from_env: FLOW_TOKEN}
process:
  - name: Here
    kind: run-script
    on: hub
    shell: bash
    script: |
      echo "here as $(id -un) in $HOME"
      echo "token $(get_variable Token)"
      set_variable Seen "by the hub"
"""
CLOUD = """
kind: Account
name: Service
type: generic
fields: {SERVICE_URL: "https://service.example"}
secrets:
  SERVICE_TOKEN: {value_from_env: FLOW_TOKEN}
---
kind: Project
name: Clouds
lifecycle: House
process:
  - name: There
    kind: cloud-script
    roles: [service]
    properties:
      script: |
        echo "$SERVICE_URL with $SERVICE_TOKEN in $(get_variable Manyarm.Target.Region)"
        printf %s "$SERVICE_TOKEN" | sha256sum
  - name: Here too
    kind: cloud-script
    on: hub
    properties:
      account: Service
      script: echo "also $SERVICE_URL with ${#SERVICE_TOKEN} characters"
"""


@pytest.fixture(scope="module", autouse=True)
def _project(house):
    house.environ["FLOW_TOKEN"] = "s3cret-flow-token"
    (house.folder / "project.yaml").write_text(PROJECT)
    house.manyarm("apply", "-f", str(house.folder / "project.yaml"))
    house.manyarm("release", "create", "House", "--version", "1.0.0")


def deploy(house) -> str:
    done = house.run("manyarm", "deploy", "House", "--release", "1.0.0", "--to", "Test", "--watch")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_step_on_the_hub_runs_there_and_its_log_comes_back(house):
    said = deploy(house)
    assert "hub | here as" in said
    assert "hub | token ***" in said
    target = next(t for t in house.json("target", "list", "--json") if t["name"] == "hub")
    assert target["kind"] == "local"


def test_all_house_spokes_join_by_themselves_and_their_codes_are_gone(house):
    def joined():
        spokes = house.json("spoke", "list", "--json")
        return {(s["name"], s["kind"]) for s in spokes if s["state"] == "trusted" and s["kind"] != "polling"}

    until(lambda: joined() == {("hub", "local"), ("hub-ssh", "ssh"), ("hub-relay", "relay")}, lambda: str(joined()))
    for kind in ("relay", "ssh", "local"):
        join = house.home / "spokes" / kind / "join"
        until(lambda file=join: not file.exists(), "the code still lies there")


def test_the_doctor_tells_of_it_and_of_the_user_that_it_became(house):
    here = ("ok     house spoke local: is there as hub\n", "ok     house spoke ssh: is there as hub-ssh\n")
    until(lambda: all(words in house.run("manyarm", "doctor").stdout for words in here), "one of them is not there")
    done = house.run("manyarm", "doctor")
    if os.geteuid() == 0:
        assert "ok     local spoke's user: scripts on the hub run as manyarm-local" in done.stdout
    else:
        assert "warn   local spoke's user: scripts on the hub run as" in done.stdout
    assert "local spoke's Python" not in done.stdout


def test_a_killed_local_spoke_is_started_again_and_works(house):
    killed = house.part("local")
    end(killed)
    until(lambda: house.part("local") != killed, "it was not started again")
    assert "hub | here as" in deploy(house)


def test_a_cloud_target_is_served_by_the_hub_with_its_account(house):
    (house.folder / "clouds.yaml").write_text(CLOUD)
    house.manyarm("apply", "-f", str(house.folder / "clouds.yaml"))
    words = ("--account", "Service", "--region", "north-1", "--role", "service", "--environment", "Test")
    house.manyarm("target", "add-cloud", "assets", *words)
    house.manyarm("release", "create", "Clouds", "--version", "1.0.0")
    done = house.run("manyarm", "deploy", "Clouds", "--release", "1.0.0", "--to", "Test", "--watch")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "assets | https://service.example with *** in north-1" in done.stdout
    assert f"assets | {hashlib.sha256(b's3cret-flow-token').hexdigest()}" in done.stdout
    assert "hub | also https://service.example with 17 characters" in done.stdout


def test_a_spoke_whose_home_was_emptied_while_the_hub_was_down_is_followed_by_another(house):
    before = next(s for s in house.json("spoke", "list", "--json") if s["name"] == "hub")["id"]
    house.stop(for_good=False)
    # An installed runner is there to be read.
    subprocess.run(["chmod", "-R", "u+rwX", house.local_home], check=True)
    shutil.rmtree(house.local_home)
    (house.folder / "up.log").unlink()
    house.start()

    def followed():
        return [s for s in house.json("spoke", "list", "--json") if s["state"] == "trusted" and s["id"] != before]

    until(followed, "nobody followed")
    house.until_healthy("hub")
    assert "hub | here as" in deploy(house)

"""A target that is reached by SSH, from nothing to a script that runs there, with a whole hub and a real sshd."""

import pytest

from spokes.remote.endpoint import HostKey
from tests.services.sshd import running_sshd
from tests.services.whole import until

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow]

ACCOUNT = """
kind: Environment
name: Test
---
kind: Account
name: Opener
type: ssh-key
fields: {user: "%s"}
secrets:
  private_key: {value_from_env: FLOW_SSH_KEY}
"""


@pytest.fixture(scope="module")
def sshd(tmp_path_factory):
    with running_sshd(tmp_path_factory.mktemp("flow") / "sshd") as sshd:
        yield sshd


@pytest.fixture(scope="module", autouse=True)
def _account(house, sshd):
    house.environ["FLOW_SSH_KEY"] = sshd.client_key
    (house.folder / "account.yaml").write_text(ACCOUNT % sshd.user)
    house.manyarm("apply", "-f", str(house.folder / "account.yaml"))


def fingerprint(words: str) -> str:
    return next(word for word in words.split() if word.startswith("SHA256:"))


def test_a_target_is_added_its_key_compared_and_a_script_runs_there(house, sshd):
    there = house.folder / "there"
    until(
        lambda: any(s["name"] == "hub-ssh" and s["state"] == "trusted" for s in house.json("spoke", "list", "--json")),
        "the ssh spoke did not join",
    )
    words = ("--account", "Opener", "--home", str(there), "--role", "web", "--environment", "Test")
    added = house.run("manyarm", "target", "add-ssh", "ssh-1", f"{sshd.host}:{sshd.port}", *words)
    assert added.returncode == 2, added.stdout + added.stderr
    house.manyarm("target", "confirm-host-key", "ssh-1", "--fingerprint", fingerprint(added.stderr))
    done = house.run("manyarm", "run", "--to", "ssh-1", "--", "echo here in $PWD")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"here in {there / 'jobs'}" in done.stdout


def test_a_changed_key_stops_the_target_until_somebody_compares_again(house, sshd):
    before = HostKey.parse(sshd.host_key).fingerprint
    sshd.make_host_key()
    sshd.cut()
    found = HostKey.parse(sshd.host_key).fingerprint
    done = house.run("manyarm", "run", "--to", "ssh-1", "--", "echo never")
    assert done.returncode != 0
    assert "never" not in done.stdout
    until(lambda: f"expected {before}, found {found}" in house.manyarm("target", "show", "ssh-1"), "it is not told")
    assert house.run("manyarm", "run", "--to", "ssh-1", "--", "echo never").returncode != 0
    house.manyarm("target", "confirm-host-key", "ssh-1", "--fingerprint", found)
    house.run("manyarm", "target", "enable", "ssh-1")
    done = house.run("manyarm", "run", "--to", "ssh-1", "--", "echo again")
    assert "again" in done.stdout, done.stdout + done.stderr

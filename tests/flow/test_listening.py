"""Listening spokes through a real relay: a whole deployment, both ways in, and everybody who may be revoked."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flow.conftest import PROJECT, archive
from tests.services.ports import free_ports
from tests.services.requires import requires
from tests.services.whole import Whole, until
from wire.join_code import JoinCode
from wire.keys import thumbprint_of_digest

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow]

SECRET = "s3cret-flow-token"


class Listened(Whole):
    """A hub with a relay, and spokes that listen."""

    def start_relay(self, name: str) -> None:
        """A relay of its own home joins by a code in a file, and is trusted by it."""
        made = self.json("join-code", "create", "--kind", "relay", "--auto-approve", "--json")
        code = self.folder / f"{name}.join"
        code.write_text(made["code"] + "\n")
        code.chmod(0o600)
        home = str(self.spoke_home(name))
        words = ("manyarm-spoke", "--home", home, "relay", "--join-file", str(code), "--name", name)
        self._spokes[name] = self._process(name, *words)
        until(lambda: self.named("spoke", name).get("state") == "trusted", lambda: self._words(name))

    def start_listening(self, name: str, *words: str) -> None:
        """Serve in the background; whether a relay comes is another question."""
        self._spokes[name] = self._process(name, "manyarm-spoke", "--home", str(self.spoke_home(name)), "run", *words)

    def named(self, what: str, name: str) -> dict:
        """The newest target or spoke of that name, as the commands list it."""
        return next((row for row in self.json(what, "list", "--json") if row["name"] == name), {})

    def until_reason(self, name: str, words: str) -> None:
        until(
            lambda: words in self.named("target", name).get("health_reason", ""),
            lambda: f"{self.named('target', name)} {self._words('relay-1')}",
        )


@pytest.fixture(scope="module")
def hub(tmp_path_factory) -> Iterator[Listened]:
    requires("rabbitmq")
    made = Listened(tmp_path_factory.mktemp("listened"), MANYARM_ALLOW_INNER_TARGETS="true")
    try:
        made.install()
        made.start()
        (made.folder / "places.yaml").write_text("kind: Environment\nname: Test\n---\nkind: Environment\nname: Live\n")
        made.manyarm("apply", "-f", str(made.folder / "places.yaml"))
        made.start_relay("relay-1")
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def web(hub) -> str:
    """The spoke web-1, which came in by a join code; its address."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    made = hub.json(
        "join-code", "create", "--role", "web", "--environment", "Test", "--environment", "Live",
        "--auto-approve", "--json",
    )  # fmt: skip
    hub.spoke("web-1", "enrol", made["code"], "--name", "web-1", "--listen", address)
    hub.start_listening("web-1")
    hub.until_healthy("web-1")
    return address


def released(hub: Listened, name: str, files: dict[str, str | bytes], version: str = "1.0.0") -> None:
    folder = Path(hub.folder)
    package = folder / f"{name.lower()}.{version}.tar"
    archive(package, files)
    hub.environ["FLOW_TOKEN"] = SECRET
    (folder / "project.yaml").write_text(PROJECT.format(name=name, package=name.lower()))
    hub.manyarm("apply", "-f", str(folder / "project.yaml"))
    hub.manyarm("package", "push", str(package))
    hub.manyarm("release", "create", name, "--version", version)


def test_a_release_is_deployed_to_a_listening_spoke_and_its_log_comes_back(hub, web):
    files = {
        "index.html": "<p>#{Greeting} 1</p>\n",
        "settings.json": '{"Greeting": "none"}\n',
        "big.bin": os.urandom(2**21),
    }
    released(hub, "Heard", files)
    done = hub.run("manyarm", "deploy", "Heard", "--release", "1.0.0", "--to", "Test", "--watch")
    assert done.returncode == 0, done.stdout + done.stderr
    site = hub.spoke_home("web-1") / "sites" / "Heard" / "current"
    assert (site / "index.html").read_text() == "<p>Hello from Test 1</p>\n"
    assert (site / "big.bin").read_bytes() == files["big.bin"]
    assert "web-1 | seen: Hello from Test" in done.stdout
    assert "token ***" in done.stdout
    assert hub.named("spoke", "web-1")["address"] == web
    assert hub.named("spoke", "web-1")["relay"] == "relay-1"


def test_t052_a_secret_that_went_through_the_relay_is_nowhere_at_the_relay(hub, web):
    done = hub.run("manyarm", "deploy", "Heard", "--release", "1.0.0", "--to", "Live", "--watch")
    assert done.returncode == 0, done.stdout + done.stderr
    kept = [path for path in hub.spoke_home("relay-1").rglob("*") if path.is_file()]
    for path in [*kept, hub.folder / "relay-1.log"]:
        assert SECRET.encode() not in path.read_bytes(), path


def test_the_listening_spoke_has_no_account_and_the_relay_no_mailbox(hub, web):
    listening = json.loads((hub.spoke_home("web-1") / "identity" / "spoke.json").read_text())
    assert set(listening["broker"].values()) == {""}
    relay = json.loads((hub.spoke_home("relay-1") / "identity" / "spoke.json").read_text())
    assert relay["broker"]["user"] == f"relay-{relay['spoke_id']}"


def test_a_relay_that_is_killed_in_the_middle_costs_no_line_and_no_second_start(hub, web):
    task = hub.manyarm(
        "run", "--detach", "--to", "web-1", "--", "for i in $(seq 1 40); do echo line $i; sleep 0.1; done"
    ).strip()
    until(lambda: "line 5" in hub.manyarm("task", "logs", task), "the script did not start")
    os.kill(hub._spokes["relay-1"].pid, signal.SIGKILL)
    hub._spokes.pop("relay-1").wait()
    hub._spokes["relay-1"] = hub._process("relay-1", "manyarm-spoke", "--home", str(hub.spoke_home("relay-1")), "relay")
    until(
        lambda: hub.json("task", "show", task, "--json")["state"] == "succeeded",
        lambda: hub.manyarm("task", "logs", task),
    )
    lines = [line for line in hub.manyarm("task", "logs", task).splitlines() if "line " in line]
    assert [int(line.rpartition(" ")[2]) for line in lines] == list(range(1, 41))


def test_one_introduced_by_its_thumbprint_is_let_in_without_a_code(hub, web):
    address = f"127.0.0.1:{free_ports(1)[0]}"
    hub.spoke("web-2", "trust", root_of(hub))
    hub.start_listening("web-2", "--listen", address)
    until(lambda: "thumbprint is SHA256:" in (hub.folder / "web-2.log").read_text(), "it said no thumbprint")
    thumbprint = hub.spoke("web-2", "thumbprint").strip()
    hub.manyarm(
        "target",
        "add-listening",
        "web-2",
        address,
        "--thumbprint",
        thumbprint,
        "--role",
        "web2",
        "--environment",
        "Test",
    )
    hub.until_healthy("web-2")
    assert hub.named("spoke", "web-2")["state"] == "trusted"
    assert "hello web-2" in hub.manyarm("run", "--to", "web-2", "--", "echo hello web-2")


def test_t082_a_wrong_thumbprint_and_a_closed_port_are_the_reasons_shown(hub, web):
    closed = f"127.0.0.1:{free_ports(1)[0]}"
    right = hub.spoke("web-1", "thumbprint").strip()
    wrong = right[:7] + ("a" if right[7] != "a" else "b") + right[8:]
    hub.manyarm("target", "add-listening", "away", closed, "--thumbprint", wrong, "--role", "none")
    hub.until_reason("away", "nothing listens there")
    hub.manyarm("target", "add-listening", "impostor", web, "--thumbprint", wrong, "--role", "none")
    hub.until_reason("impostor", "another thumbprint")


def test_a_revoked_listening_spoke_is_dialled_no_more_and_its_jobs_end(hub, web):
    task = hub.manyarm("run", "--detach", "--to", "web-2", "--", "echo begun; sleep 300").strip()
    until(lambda: "begun" in hub.manyarm("task", "logs", task), "the script did not start")
    hub.manyarm("spoke", "revoke", "web-2")
    until(lambda: hub.json("task", "show", task, "--json")["state"] in {"failed", "unknown"}, "its job did not end")
    assert hub.named("spoke", "web-2")["state"] == "revoked"
    # web-1, and the two that nobody reaches.
    until(lambda: _status(hub, "relay-1")["spokes"] == 3, lambda: str(_status(hub, "relay-1")))


def test_a_revoked_relay_carries_nothing_and_another_takes_over(hub, web):
    assert hub.named("spoke", "relay-1")["kind"] == "relay"
    hub.start_relay("relay-2")
    hub.manyarm("run", "--to", "web-1", "--", "echo both are trusted")
    hub.manyarm("spoke", "revoke", "relay-1")
    until(lambda: hub.named("spoke", "web-1")["relay"] == "relay-2", lambda: str(hub.named("spoke", "web-1")))
    hub.until_healthy("web-1")
    assert "still here" in hub.manyarm("run", "--to", "web-1", "--", "echo still here")


def test_a_spoke_whose_only_relay_was_revoked_learns_of_the_next_one(hub, web):
    said = hub.run("manyarm", "spoke", "revoke", "relay-2")
    assert "no relay is left" in said.stderr
    until(lambda: hub.named("target", "web-1")["health"] == "unavailable", lambda: str(hub.named("target", "web-1")))
    hub.start_relay("relay-3")
    until(lambda: hub.named("target", "web-1")["health"] == "healthy", lambda: str(hub.named("target", "web-1")))
    assert "once more" in hub.manyarm("run", "--to", "web-1", "--", "echo once more")


def _status(hub: Listened, name: str) -> dict:
    done = hub.run("manyarm-spoke", "--home", str(hub.spoke_home(name)), "status", "--json")
    return json.loads(done.stdout)


def root_of(hub: Listened) -> str:
    """What a person reads on the hub and types on the machine."""
    made = hub.json("join-code", "create", "--json")
    return thumbprint_of_digest(JoinCode.parse(made["code"]).root_thumbprint)

"""`manyarm target add-…` and `manyarm account` against a hub's real API over HTTP; the scan's result is put in by hand."""

import base64
import json
import struct
import threading
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from werkzeug.serving import make_server

from hub.cli.__main__ import manyarm
from hub.cli.client import target_adding
from hub.infrastructure.ssh_input import fingerprint_of
from hub.states import SpokeKind, TaskState
from hub.storage.database import connection, write_tx
from hub.storage.models import Job, OutputVariable, Spoke, Target, Task
from tests.fakes.api_hub import running_api

PRIVATE = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n"
BLOB = struct.pack(">I", 11) + b"ssh-ed25519" + struct.pack(">I", 32) + b"c" * 32
KEY = f"ssh-ed25519 {base64.b64encode(BLOB).decode()}"
ACCOUNTS = """
kind: Account
name: deploy-key
type: ssh-key
fields: {user: {value_from_env: THE_USER}}
secrets:
  private_key: {file_from_env: THE_KEY_FILE}
  passphrase: {value_from_env: THE_PASSPHRASE}
---
kind: Account
name: shop-aws
type: aws
fields: {access_key_id: AKIA}
secrets: {secret_access_key: {value_from_env: THE_PASSPHRASE}}
---
kind: Environment
name: Production
"""


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with running_api(tmp_path_factory.mktemp("hub")) as running:
        running.add_target("hub-ssh")
        running.add_runner()
        with connection(), write_tx():
            spoke = Spoke.get(Spoke.name == "hub-ssh")
            spoke.kind = SpokeKind.SSH
            spoke.version += 1
            running.installed.seals.seal(spoke)
            spoke.save()
        yield running


@pytest.fixture(scope="module")
def typed(api, tmp_path_factory):
    """Type a command; answers what click's runner saw."""

    def served(environ, start_response):
        with connection():
            return api.app(environ, start_response)

    server = make_server("127.0.0.1", 0, served, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    home = tmp_path_factory.mktemp("typist")
    (home / "key").write_text(PRIVATE)
    (home / "accounts.yaml").write_text(ACCOUNTS)
    environment = {
        "MANYARM_URL": f"http://127.0.0.1:{server.server_port}",
        "MANYARM_API_KEY": api.key,
        "THE_KEY_FILE": str(home / "key"),
        "THE_PASSPHRASE": "open sesame",
        "THE_USER": "deploy",
    }

    def run(*words, answer=None):
        return CliRunner().invoke(manyarm, words, env=environment, input=answer)

    done = run("apply", "-f", str(home / "accounts.yaml"))
    assert done.exit_code == 0, done.output
    yield run
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def answering(monkeypatch):
    """A machine whose ssh spoke answers every scan at once with KEY."""
    stop = threading.Event()

    def answer():
        while not stop.wait(0.02):
            with connection(), write_tx():
                for task in Task.select().where(Task.kind == "host-key-scan", Task.ended_at.is_null()):
                    target = Target.get(Target.name == task.title.removeprefix("Scan the host key of "))
                    job = Job.get(Job.task == task.id)
                    OutputVariable.create(
                        task=task.id, job=job.id, step="Scan", target=target.name, name="host_key", value=KEY
                    )
                    Task.update(state=TaskState.SUCCEEDED, ended_at=1).where(Task.id == task.id).execute()

    thread = threading.Thread(target=answer)
    thread.start()
    yield
    stop.set()
    thread.join()


@pytest.fixture
def at_a_terminal(monkeypatch):
    """click's runner puts a stream of its own there; what is asked is whether a person could answer."""
    monkeypatch.setattr(target_adding, "sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))


def endpoint(api, name):
    return api.get(f"/targets/{name}").json["endpoint"]


def test_the_secrets_of_a_file_come_from_the_environment_and_from_files(typed):
    listed = typed("account", "list")
    assert "deploy-key" in listed.output
    assert "passphrase,private_key" in listed.output
    assert "sesame" not in listed.output + typed("account", "show", "deploy-key").output


def test_a_key_is_shown_beside_the_command_for_the_console_and_pinned_on_a_yes(api, typed, answering, at_a_terminal):
    words = ("target", "add-ssh", "web-1", "web-1.example.com:2222", "--account", "deploy-key", "--user", "ops")
    done = typed(*words, "--role", "web", "--environment", "Production", answer="y\n")
    assert done.exit_code == 0, done.output
    assert "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub" in done.output
    assert fingerprint_of(KEY) in done.output
    seen = api.get("/targets/web-1").json
    assert (seen["endpoint"]["port"], seen["endpoint"]["user"], seen["roles"]) == (2222, "ops", ["web"])
    assert seen["endpoint"]["host_key"] == KEY


def test_nobody_at_the_terminal_confirms_nothing(api, typed, answering):
    done = typed("target", "add-ssh", "web-2", "web-2.example.com", "--account", "deploy-key")
    assert done.exit_code != 0
    assert "after comparing: manyarm target confirm-host-key web-2 --fingerprint SHA256:" in done.output
    assert endpoint(api, "web-2")["fingerprint"] is None
    refused = typed("target", "confirm-host-key", "web-2", "--fingerprint", "SHA256:" + "x" * 43)
    assert refused.exit_code != 0
    assert endpoint(api, "web-2")["fingerprint"] is None
    assert typed("target", "confirm-host-key", "web-2", "--fingerprint", fingerprint_of(KEY)).exit_code == 0
    assert endpoint(api, "web-2")["fingerprint"] == fingerprint_of(KEY)


def test_a_no_pins_nothing(api, typed, answering, at_a_terminal):
    done = typed("target", "add-ssh", "web-3", "web-3.example.com", "--account", "deploy-key", answer="n\n")
    assert done.exit_code == 3
    assert endpoint(api, "web-3")["fingerprint"] is None


def test_a_key_that_was_typed_is_pinned_without_a_scan(api, typed):
    done = typed("target", "add-ssh", "web-4", "10.0.0.7", "--account", "deploy-key", "--host-key", f"{KEY} root@web-4")
    assert done.exit_code == 0, done.output
    assert endpoint(api, "web-4")["host_key"] == KEY


def test_a_cloud_target_takes_account_region_and_properties(api, typed):
    words = (
        "target",
        "add-cloud",
        "shop",
        "--account",
        "shop-aws",
        "--region",
        "eu-west-1",
        "--property",
        "bucket=www",
    )
    assert typed(*words).exit_code == 0
    assert json.loads(typed("target", "show", "shop", "--json").output)["endpoint"]["properties"] == {"bucket": "www"}
    assert "region: eu-west-1" in typed("target", "show", "shop").output


def test_a_host_that_is_an_option_is_refused_in_words(typed):
    done = typed("target", "add-ssh", "--account", "deploy-key", "odd", "--", "-oProxyCommand=id")
    assert done.exit_code == 2
    assert "expected a host name" in done.output

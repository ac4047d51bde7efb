"""A hub that cannot start says why in one sentence and changes nothing; one whose broker is away starts all the same."""

import contextlib
import json
import re
import shutil
import socket
import sqlite3
import urllib.error
import urllib.request

import pytest

from hub.broker.node import NodeCredentials, PrivateNode
from tests.services.refusals import apply, refused
from tests.services.requires import requires
from tests.services.whole import Whole, until
from wire import topology

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def asleep(tmp_path_factory):
    """A hub that is installed and not started."""
    made = Whole(tmp_path_factory.mktemp("asleep"))
    made.install()
    return made


def ready(hub):
    try:
        with urllib.request.urlopen(f"{hub.url}/readyz", timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


# The master key


def content_of(home):
    return {path: path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file()}


def test_a_wrong_a_missing_and_a_damaged_key_are_three_sentences_and_no_write(asleep):
    key = asleep.home.with_name("hub.master-key")
    good, before = key.read_text(), content_of(asleep.home)
    words = []
    try:
        for spoil in (lambda: key.write_text("1" * 64), lambda: key.write_text("no key"), key.unlink):
            spoil()
            words.append(refused(asleep, "up", status=3))
    finally:
        key.write_text(good)
        key.chmod(0o600)
    wrong, damaged, missing = words
    assert re.fullmatch(
        r"master key \w{8} was given, the data needs \w{8} \(created [\d-]+\): give that one; nothing was changed",
        wrong,
    )
    assert "expected 64 hex characters or a recovery string" in damaged
    assert missing.startswith(f"there is no key file {key}; the data needs ")
    assert content_of(asleep.home) == before
    for part in ("portal", "gateway"):
        refused(asleep, part, status=3, MANYARM_MASTER_KEY=f"file:{key}.gone")


@pytest.mark.parametrize("cls", ["engine", "portal", "gateway"])
def test_a_damaged_keyring_is_told_before_anything_starts(asleep, tmp_path, cls):
    home = tmp_path / "hub"
    shutil.copytree(asleep.home, home)
    shutil.copy(asleep.home.with_name("hub.master-key"), tmp_path / "hub.master-key")
    with contextlib.closing(sqlite3.connect(home / "manyarm.db")) as database, database:
        database.execute("UPDATE data_key SET wrapped = zeroblob(length(wrapped)) WHERE cls = ?", (cls,))
    words = refused(asleep, "--home", str(home), "up", status=3)
    assert re.match(
        rf"the master key fits, but data key \w+ \([\w-]+, for the {cls}\) does not open: restore the keyring", words
    )
    assert not (home / "broker").exists()
    assert not (home / "run").exists()


def test_a_home_without_a_hub_is_told_how_to_make_one(asleep, tmp_path):
    words = refused(asleep, "--home", str(tmp_path / "none"), "up", status=2)
    assert words == f"{tmp_path / 'none'} holds no hub yet; first: manyarm init"
    assert not (tmp_path / "none").exists()


# Ports and the broker


@pytest.mark.parametrize("part", ["PORTAL", "GATEWAY", "BROKER"])
def test_a_port_in_use_is_named_with_the_setting_that_changes_it(asleep, part):
    setting = f"MANYARM_{part}_BIND"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        words = refused(asleep, "up", status=1, **{setting: bind})
    assert bind in words
    assert words.endswith(f"set {setting}")
    assert not (asleep.home / "run" / "state.json").exists()


@pytest.mark.parametrize("command", ["up", "hub"])
def test_an_existing_broker_needs_the_address_of_its_http_api(asleep, command):
    words = refused(asleep, command, status=2, MANYARM_BROKER_URL="amqp://hub:x@127.0.0.1:1/manyarm")
    assert "MANYARM_BROKER_ADMIN_URL" in words


@pytest.mark.parametrize("command", ["up", "portal"])
def test_a_portal_that_others_could_reach_without_tls_does_not_start(asleep, command):
    words = refused(asleep, command, status=2, MANYARM_PORTAL_BIND="0.0.0.0:8080")
    assert "MANYARM_PORTAL_TLS" in words


def test_an_engine_alone_says_that_it_needs_a_broker(asleep):
    assert "MANYARM_BROKER_URL" in refused(asleep, "hub", status=2)


def test_a_broker_that_is_down_at_start_is_said_and_used_once_it_is_there(tmp_path, monkeypatch):
    requires("rabbitmq")
    node = PrivateNode(tmp_path / "elsewhere", ("127.0.0.1", 0), credentials=NodeCredentials("h" * 32, "a" * 32))
    node.start()
    node.wait_ready(60)
    broker = node.url(topology.HUB_USER, "h" * 32)
    admin = node.admin_url.replace("//", f"//{topology.ADMIN_USER}:{'a' * 32}@")
    node.stop()
    hub = Whole(tmp_path, MANYARM_BROKER_URL=broker, MANYARM_BROKER_ADMIN_URL=admin)
    # The home is called `hub`, and so is a package of ours: where one stands must not matter.
    monkeypatch.chdir(tmp_path)
    try:
        hub.install()
        hub.start()
        assert ready(hub) == (503, {"database": True, "broker": False})
        log = hub.home / "run" / "hub.log"
        until(lambda: "broker is not set up yet" in log.read_text(), "the log says nothing of the broker")
        # Without it the hub still takes what people ask for.
        assert apply(hub, "kind: Environment\nname: Test\n").returncode == 0
        doctor = hub.run("manyarm", "doctor")
        assert (doctor.returncode, "WRONG  broker: " in doctor.stdout) == (1, True)
        node.start()
        until(lambda: ready(hub) == (200, {"database": True, "broker": True}), "the broker was not found")
        hub.enrol("web-1", "web")
        hub.start_spoke("web-1")
        assert "made it" in hub.manyarm("run", "--to", "web-1", "--", "echo made it")
    finally:
        hub.stop()
        node.stop()

"""The private node: ready, stopped and found again with its messages, whatever was done to it."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import wait
from pathlib import Path

import psutil
import pytest

from hub.broker.admin import BrokerAdmin
from hub.broker.errors import AdminRefused, NodeFailed, PortTaken
from hub.broker.layout import Layout
from hub.broker.node import NodeCredentials, NodeTls, PrivateNode
from hub.broker.ports import free_ports
from hub.broker.process import ProcessMark, is_alive, mark
from tests.services.rabbitmq import READY_S
from tests.services.requires import requires
from wire import topology
from wire.amqp import AmqpConnection
from wire.connection import Outgoing
from wire.tls import make_certificate

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow]
CREDENTIALS = NodeCredentials("hub-password", "admin-password")
SPOKE = "5" * 32
RESULT_KEY = topology.event_key(SPOKE, topology.EventKind.RESULT)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("node")


@pytest.fixture(scope="module")
def node(home):
    """One for the module; each test leaves it stopped or running as it likes."""
    requires("rabbitmq")
    node = PrivateNode(home, ("127.0.0.1", 0), credentials=CREDENTIALS, disk_free_limit="50MB")
    yield node
    node.stop()


@pytest.fixture
def ready(node):
    if not node.running:
        node.start()
    node.wait_ready(READY_S)
    return node


def admin_of(node, credentials=CREDENTIALS):
    return BrokerAdmin(node.admin_url, topology.ADMIN_USER, credentials.admin_password)


def connected(node):
    return AmqpConnection(node.url(topology.HUB_USER, CREDENTIALS.hub_password), name="test node")


def publish_confirmed(node, label):
    """A message into a classic queue, a fresh one, and a quorum queue; each confirmed."""
    admin = admin_of(node)
    admin.declare(topology.spoke_topology(SPOKE))
    connection = connected(node)
    messages = [Outgoing(topology.COMMANDS, SPOKE, label), Outgoing(topology.EVENTS, RESULT_KEY, label)]
    done = connection.publish_many(messages * 200)
    assert wait(done, 30).not_done == set()
    assert {future.exception() for future in done} == {None}
    return connection


def count(node, queue, label):
    connection = connected(node)
    subscription = connection.consume(queue, prefetch=500)
    found = 0
    while taken := subscription.take(500, 5 if found < 200 else 0.3):
        found += sum(delivery.body == label for delivery in taken)
        subscription.ack(taken)
    connection.close()
    return found


def epmd_answers(node):
    try:
        socket.create_connection(("127.0.0.1", node._ports.epmd), timeout=1).close()
    except OSError:
        return False
    return True


def test_a_fresh_node_has_our_users_our_topology_and_no_guest(ready):
    admin = admin_of(ready)
    assert set(admin.users()) == {topology.HUB_USER, topology.ADMIN_USER}
    assert {queue.name for queue in topology.hub_topology().queues} <= set(admin.queues())
    assert admin.alarms() == []


def test_nothing_listens_beyond_loopback_and_nothing_of_it_is_readable_by_others(ready):
    listening = {
        connection.laddr.ip
        for process in (psutil.Process(ready.pid), *psutil.Process(ready.pid).children(recursive=True))
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}
    assert ready.folder.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in (ready.folder / "conf").iterdir())
    assert CREDENTIALS.hub_password not in (ready.folder / "conf" / "definitions.json").read_text()


def test_what_was_confirmed_is_there_after_a_stop_and_a_start(ready):
    connection = publish_confirmed(ready, b"stop")
    ready.stop()
    assert not ready.running
    assert not epmd_answers(ready)
    assert [process for process in psutil.process_iter() if str(ready.folder) in _words(process)] == []
    ready.start()
    ready.wait_ready(READY_S)
    assert count(ready, topology.spoke_queue(SPOKE), b"stop") == 200
    assert count(ready, topology.HUB_RESULTS, b"stop") == 200
    assert connection.wait_connected(60)
    connection.close()


def test_what_was_confirmed_is_there_after_kill_9_and_a_connection_comes_back_by_itself(ready):
    connection = publish_confirmed(ready, b"kill")
    port, epmd_port = ready.port, ready._ports.epmd
    os.kill(ready.pid, signal.SIGKILL)
    # As after a crash of everything: another object, which knows only the folder.
    other = PrivateNode(ready.folder.parent, ("127.0.0.1", port), credentials=CREDENTIALS, disk_free_limit="50MB")
    ready._child.wait()
    assert not ready.running
    other.start()
    other.wait_ready(READY_S)
    try:
        assert other.port == port
        assert other._ports.epmd == epmd_port
        assert count(other, topology.spoke_queue(SPOKE), b"kill") == 200
        assert count(other, topology.HUB_RESULTS, b"kill") == 200
        assert connection.wait_connected(60)
    finally:
        connection.close()
        other.stop()
        ready.stop()


def test_a_node_that_was_left_running_is_gone_on_with_unless_it_was_made_otherwise(ready):
    pid = ready.pid
    heir = PrivateNode(ready.folder.parent, ("127.0.0.1", ready.port), credentials=CREDENTIALS, disk_free_limit="50MB")
    heir.start()
    heir.wait_ready(READY_S)
    assert heir.pid == pid
    changed = NodeCredentials("another-password", "another-admin")
    after = PrivateNode(ready.folder.parent, ("127.0.0.1", 0), credentials=changed, disk_free_limit="50MB")
    after.start()
    after.wait_ready(READY_S)
    try:
        assert after.pid != pid
        assert after.port == heir.port
        assert not is_alive(heir._mark)
        assert topology.HUB_USER in admin_of(after, changed).users()
    finally:
        after.stop()
        ready.stop()


def test_a_port_in_use_is_said_in_one_sentence_and_nothing_is_started(node, tmp_path):
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        port = squatter.getsockname()[1]
        late = PrivateNode(tmp_path, ("127.0.0.1", port), credentials=CREDENTIALS)
        with pytest.raises(PortTaken, match=f"127.0.0.1:{port}, another program does.*MANYARM_BROKER_BIND"):
            late.start()
        assert late.pid is None
    far = PrivateNode(tmp_path, ("192.0.2.1", 5673), credentials=CREDENTIALS)
    with pytest.raises(PortTaken, match=r"192\.0\.2\.1:5673"):
        far.start()


def test_an_inner_port_that_is_lost_at_the_last_moment_is_replaced(tmp_path, monkeypatch):
    requires("rabbitmq")
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        lost = squatter.getsockname()[1]
        asked = []

        def ports(count):
            asked.append(count)
            found = free_ports(count)
            return found if len(asked) > 1 else [*found[:2], lost, *found[3:]]

        monkeypatch.setattr("hub.broker.node.free_ports", ports)
        node = PrivateNode(tmp_path, ("127.0.0.1", 0), credentials=CREDENTIALS, disk_free_limit="50MB")
        node.start()
        try:
            node.wait_ready(READY_S)
            assert len(asked) == 2
        finally:
            node.stop()


def test_a_stranger_who_got_the_old_pid_is_left_alone(tmp_path):
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        node = PrivateNode(tmp_path, ("127.0.0.1", 0), credentials=CREDENTIALS)
        node._layout.make_folders()
        real = mark(stranger.pid)
        ports = {"amqp": 1, "management": 2, "distribution": 3, "epmd": 4}
        for wrong in (
            ProcessMark(real.pid, str(int(real.start_time) - 1), real.boot_id),
            ProcessMark(real.pid, real.start_time, "another boot"),
        ):
            words = {"pid": wrong.pid, "start_time": wrong.start_time, "boot_id": wrong.boot_id}
            (node.folder / "node.json").write_text(json.dumps({"mark": words, "ports": ports, "made_with": ""}))
            assert node._left_behind() is None
        assert stranger.poll() is None
        (node.folder / "node.json").write_text("{half a file")
        assert node._recorded() is None
    finally:
        stranger.kill()
        stranger.wait()
    assert not is_alive(real)


def test_a_node_that_cannot_start_says_why_with_its_own_last_words(tmp_path):
    requires("rabbitmq")
    certificate = tmp_path / "certificate.pem"
    certificate.write_text("")
    tls = NodeTls(certificate, tmp_path / "no-such-key.pem")
    node = PrivateNode(tmp_path, ("127.0.0.1", 0), credentials=CREDENTIALS, tls=tls)
    node.start()
    with pytest.raises(NodeFailed, match=r"died at start; it said: ssl_options\.keyfile invalid, file does not exist"):
        node.wait_ready(READY_S)
    node.stop()


def test_rabbitmq_takes_every_key_of_the_production_example(tmp_path, monkeypatch):
    requires("rabbitmq")
    for name, content in zip(("certificate.pem", "key.pem"), make_certificate(b"p" * 32, "broker"), strict=True):
        (tmp_path / name).write_bytes(content)
    example = Path("config/rabbitmq/production.conf").read_text().replace("/etc/rabbitmq/tls", str(tmp_path))

    def configured(layout, ports):
        text = example.replace("0.0.0.0:5671", f"127.0.0.1:{ports.amqp}").replace("15672", str(ports.management))
        return text.replace("= 2GB", "= 50MB")

    monkeypatch.setattr(Layout, "configuration", configured)
    tls = NodeTls(tmp_path / "certificate.pem", tmp_path / "key.pem")
    node = PrivateNode(tmp_path, ("127.0.0.1", 0), credentials=CREDENTIALS, tls=tls)
    node.start()
    try:
        node.wait_ready(READY_S)
    finally:
        node.stop()


def test_the_node_runs_as_an_ordinary_user_too():
    requires("rabbitmq")
    story = """
import importlib.resources, os, pathlib, sys, encodings.idna
from hub.broker.node import NodeCredentials, NodeTls, PrivateNode
from hub.broker.admin import BrokerAdmin
from hub.broker.errors import AdminRefused
# Read once as root: the interpreter itself may lie where nobody else may read.
importlib.resources.files("config").joinpath("rabbitmq", "node.conf").read_text()
uid = int(sys.argv[2])
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(uid); os.setuid(uid)
home = pathlib.Path(sys.argv[1]); os.chdir("/")
node = PrivateNode(home, ("127.0.0.1", 0), credentials=NodeCredentials("h", "a"), disk_free_limit="50MB")
node.start()
try:
    node.wait_ready(90)
    print(BrokerAdmin(node.admin_url, "hub-admin", "a").users(), os.stat(node.folder).st_uid)
finally:
    node.stop()
"""
    uid = os.geteuid() or 65_534
    with tempfile.TemporaryDirectory(prefix="manyarm-nobody-") as folder:
        if os.geteuid() == 0:
            os.chown(folder, uid, uid)
        done = subprocess.run(
            [sys.executable, "-c", story, folder, str(uid)], capture_output=True, text=True, timeout=110, cwd=Path.cwd()
        )
    assert done.stdout == f"['hub', 'hub-admin'] {uid}\n", done.stderr


def _words(process):
    try:
        return " ".join(process.cmdline()) + " ".join(process.environ().values())
    except psutil.Error:
        return ""


def test_a_home_whose_intents_were_a_quorum_queue_gets_the_other_kind(ready):
    admin = admin_of(ready)
    admin.delete_queue(topology.HUB_INTENTS)
    admin.declare(topology.Topology(queues=(topology.Queue(topology.HUB_INTENTS, quorum=True),)))
    ready.stop()
    ready.start()
    ready.wait_ready(READY_S)
    admin = admin_of(ready)
    hub = AmqpConnection(
        ready.url(topology.HUB_USER, CREDENTIALS.hub_password), name="test hub", declare=topology.hub_topology()
    )
    taken = hub.consume(topology.HUB_INTENTS, prefetch=1)
    assert not hub.wait_connected(1)
    admin.ensure_vhost_and_hub_users(hub_password=CREDENTIALS.hub_password)
    assert admin._call("GET", f"queues/{topology.VHOST}/{topology.HUB_INTENTS}")["type"] == "classic"
    assert hub.wait_connected(30)
    assert (
        hub.publish(Outgoing(topology.INTENTS, topology.INTENT_KEY, b"asked", persistent=False)).exception(30) is None
    )
    assert [delivery.body for delivery in taken.take(1, 30)] == [b"asked"]
    hub.close()


def test_a_queue_that_holds_what_stands_nowhere_else_is_never_removed_for_its_type(ready):
    with pytest.raises(AdminRefused, match="inequivalent"):
        admin_of(ready).declare(topology.Topology(queues=(topology.Queue(topology.HUB_RESULTS),)))

"""What AmqpConnection does when the broker blocks, freezes or goes away."""

import os
import signal
import subprocess
import time

import psutil
import pytest

from hub.broker.node import PrivateNode
from tests.services.rabbitmq import READY_S, running_broker
from wire import topology
from wire.amqp import AmqpConnection
from wire.connection import Outgoing
from wire.errors import ConnectionLost, Nacked

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow]
WAIT_S = 30


@pytest.fixture(scope="module")
def own():
    """A node to be ill-treated."""
    from tests.services.requires import requires

    requires("rabbitmq")
    with running_broker() as broker:
        yield broker


@pytest.fixture
def spoke_id(own):
    spoke_id, _ = own.make_spoke()
    return spoke_id


def eventually(question, wait_s=WAIT_S):
    deadline = time.monotonic() + wait_s
    while not (answer := question()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return answer


def rabbitmqctl(node: PrivateNode, *words):
    environment = node._layout.environment(node._ports) | {
        "RABBITMQ_CTL_DIST_PORT_MIN": "35673",
        "RABBITMQ_CTL_DIST_PORT_MAX": "35693",
    }
    done = subprocess.run(
        ["/usr/lib/rabbitmq/bin/rabbitmqctl", *words], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr + done.stdout


def test_a_blocked_broker_is_said_bounds_memory_and_stops_no_consumer(own, spoke_id):
    hub = AmqpConnection(own.hub_url, name="blocked", publish_timeout_s=2)
    mailbox = hub.consume(topology.spoke_queue(spoke_id), prefetch=10)
    hub.publish_many([Outgoing(topology.COMMANDS, spoke_id, str(number).encode()) for number in range(20)])
    assert eventually(lambda: len(mailbox._buffer) == 10)
    rabbitmqctl(own.node, "set_vm_memory_high_watermark", "0.000001")
    try:
        # The broker tells a publisher when it next publishes.
        hub.publish(Outgoing(topology.COMMANDS, spoke_id, b"last"))
        assert eventually(lambda: hub.state == "blocked")
        assert hub.wait_connected(1)
        assert own.admin.alarms() == ["memory"]
        before = psutil.Process().memory_info().rss
        body = os.urandom(1024 * 1024)
        futures = [hub.publish(Outgoing(topology.COMMANDS, spoke_id, bytes(body))) for _ in range(70)]
        assert {type(future.exception(WAIT_S)) for future in futures} == {Nacked}
        assert "broker blocked" in str(futures[0].exception())
        assert psutil.Process().memory_info().rss - before < 200 * 1024 * 1024
        got = 0
        while taken := mailbox.take(10, 3 if got < 20 else 0.2):
            mailbox.ack(taken)
            got += len(taken)
        assert got >= 20
    finally:
        rabbitmqctl(own.node, "set_vm_memory_high_watermark", "0.4")
    assert eventually(lambda: hub.state == "connected")
    hub.publish(Outgoing(topology.COMMANDS, spoke_id, b"again")).result(WAIT_S)
    hub.close()


def test_a_frozen_broker_is_found_by_heartbeat_and_what_was_open_fails(own, spoke_id):
    hub = AmqpConnection(own.hub_url, name="frozen", heartbeat_s=2, publish_timeout_s=WAIT_S)
    assert hub.wait_connected(WAIT_S)
    os.kill(own.node.pid, signal.SIGSTOP)
    try:
        lost = hub.publish(Outgoing(topology.COMMANDS, spoke_id, b"nobody knows"))
        assert isinstance(lost.exception(WAIT_S), ConnectionLost)
    finally:
        os.kill(own.node.pid, signal.SIGCONT)
    assert hub.wait_connected(WAIT_S)
    hub.publish(Outgoing(topology.COMMANDS, spoke_id, b"after")).result(WAIT_S)
    hub.close()


def test_a_slow_caller_starves_no_heartbeat(own, spoke_id):
    hub = AmqpConnection(own.hub_url, name="slow caller", heartbeat_s=1)
    mailbox = hub.consume(topology.spoke_queue(spoke_id), prefetch=10)
    hub.publish(Outgoing(topology.COMMANDS, spoke_id, b"long work")).result(WAIT_S)
    (delivery,) = mailbox.take(1, WAIT_S)
    time.sleep(4)
    mailbox.ack([delivery])
    assert mailbox._generation == delivery.generation
    hub.publish(Outgoing(topology.COMMANDS, spoke_id, b"next")).result(WAIT_S)
    assert [taken.body for taken in mailbox.take(2, WAIT_S)] == [b"next"]
    hub.close()


def test_publishing_goes_on_over_a_restart_and_nothing_confirmed_is_lost(own, spoke_id, monkeypatch):
    """The outbox's loop in small: what is not confirmed is published again, under its own number."""
    monkeypatch.setattr("wire.amqp.link.backoff_s", lambda failures: 0.1)
    hub = AmqpConnection(own.hub_url, name="restart", publish_timeout_s=WAIT_S)

    def published(numbers):
        messages = [Outgoing(topology.COMMANDS, spoke_id, str(number).encode()) for number in numbers]
        return dict(zip(numbers, hub.publish_many(messages), strict=True))

    outstanding = published(range(4_000))
    assert eventually(lambda: any(future.done() for future in outstanding.values()))
    os.kill(own.node.pid, signal.SIGKILL)
    own.node._child.wait()
    own.node.start()
    own.node.wait_ready(READY_S)
    while outstanding:
        outstanding = published([number for number, future in outstanding.items() if future.exception(60) is not None])
    mailbox = hub.consume(topology.spoke_queue(spoke_id), prefetch=500)
    found = set()
    while taken := mailbox.take(500, 10 if len(found) < 4_000 else 0.3):
        found |= {int(delivery.body) for delivery in taken}
        mailbox.ack(taken)
    assert found == set(range(4_000))
    hub.close()

"""The broker as a fence: what a spoke's credential, a hostile message or a false broker can do, and cannot."""

import gzip
import os
import secrets
import socket
import threading
import time

import psutil
import pytest

from hub.broker.node import NodeCredentials, NodeTls, PrivateNode
from tests.services.rabbitmq import READY_S
from tests.services.requires import requires
from wire import tls, topology
from wire.amqp import AmqpConnection
from wire.amqp.attempts import Attempts
from wire.connection import Outgoing
from wire.errors import BrokerRefused, Code, ConnectionLost, Nacked
from wire.topology import EventKind

pytestmark = pytest.mark.rabbitmq
WAIT_S = 30
MIB = 1024 * 1024


@pytest.fixture
def spokes(broker):
    """A and B: their ids, and A's URL."""
    (a, url), (b, _) = broker.make_spoke(), broker.make_spoke()
    return a, b, url


@pytest.fixture
def hub(broker):
    connection = AmqpConnection(broker.hub_url, name="abused hub", declare=topology.hub_topology())
    assert connection.wait_connected(WAIT_S)
    yield connection
    connection.close()


def eventually(question, wait_s=WAIT_S):
    deadline = time.monotonic() + wait_s
    while not (answer := question()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return answer


def an_honest_command_still_passes(broker, hub):
    """The last part of the common oracle: the next honest operation succeeds."""
    spoke_id, url = broker.make_spoke()
    spoke = AmqpConnection(url, name="honest")
    mailbox = spoke.consume(topology.spoke_queue(spoke_id), prefetch=1, exclusive=True)
    hub.publish(Outgoing(topology.COMMANDS, spoke_id, b"honest")).result(WAIT_S)
    taken = mailbox.take(1, WAIT_S)
    mailbox.ack(taken)
    spoke.close()
    return [delivery.body for delivery in taken] == [b"honest"]


PUBLISHES = {
    "as B": lambda a, b: (topology.EVENTS, topology.event_key(b, EventKind.RESULT)),
    "as one whose id begins alike": lambda a, b: (topology.EVENTS, topology.event_key(a + "0", EventKind.RESULT)),
    "as nobody": lambda a, b: (topology.EVENTS, "result"),
    "a command for B": lambda a, b: (topology.COMMANDS, b),
    "an intent": lambda a, b: (topology.INTENTS, topology.INTENT_KEY),
    "a dead letter": lambda a, b: (topology.DEAD, "x"),
    "by the default exchange to B": lambda a, b: ("", topology.spoke_queue(b)),
    "by the default exchange to the hub": lambda a, b: ("", topology.HUB_RESULTS),
    "by amq.topic": lambda a, b: ("amq.topic", "x"),
    "by amq.direct": lambda a, b: ("amq.direct", "x"),
    "by amq.fanout": lambda a, b: ("amq.fanout", "x"),
    "by amq.headers": lambda a, b: ("amq.headers", "x"),
}


@pytest.mark.parametrize("how", PUBLISHES)
def test_t037_a_spoke_cannot_publish_under_another_key_or_by_another_exchange(broker, hub, spokes, how):
    a, b, url = spokes
    with Attempts(url) as attempts:
        assert attempts.publish(*PUBLISHES[how](a, b)).code == 403
    for queue in (topology.HUB_RESULTS, topology.HUB_INTENTS, topology.HUB_DEAD, topology.spoke_queue(b)):
        assert hub.consume(queue, prefetch=1).take(1, 0.05) == []


def test_t037_nor_lend_another_users_name_nor_stay_unmarked_with_a_cc_header(broker, hub, spokes):
    a, b, url = spokes
    own_key = topology.event_key(a, EventKind.RESULT)
    with Attempts(url) as attempts:
        assert attempts.publish(topology.EVENTS, own_key, user_id=topology.spoke_user(b)).code == 406
        sent = attempts.publish(topology.EVENTS, own_key, headers={"CC": [topology.event_key(b, EventKind.LOG)]})
    if sent.allowed:  # A known hole of RabbitMQ before 4.0.
        for queue in (topology.HUB_RESULTS, topology.HUB_LOGS):
            assert [delivery.suspicious for delivery in hub.consume(queue, prefetch=1).take(1, WAIT_S)] == [True]
    assert an_honest_command_still_passes(broker, hub)


def test_t039_a_spoke_cannot_read_purge_delete_or_bind_anothers_queue(broker, hub, spokes):
    a, b, url = spokes
    theirs = topology.spoke_queue(b)
    hub.publish(Outgoing(topology.COMMANDS, b, b"for B alone")).result(WAIT_S)
    with Attempts(url) as attempts:
        for queue in (theirs, topology.HUB_RESULTS, topology.HUB_INTENTS, topology.HUB_DEAD):
            assert attempts.consume(queue).code == 403
            assert attempts.get(queue).code == 403
            assert attempts.purge(queue).code == 403
            assert attempts.delete_queue(queue).code == 403
            assert attempts.bind(queue, topology.EVENTS, "#").code == 403
        assert attempts.bind(topology.spoke_queue(a), topology.EVENTS, "#").code == 403
        assert attempts.unbind(theirs, topology.COMMANDS, b).code == 403
        assert attempts.declare_queue(f"{theirs}.more").code == 403
        assert "for B" not in attempts.look(theirs).said
    assert [delivery.body for delivery in hub.consume(theirs, prefetch=1).take(1, WAIT_S)] == [b"for B alone"]
    assert an_honest_command_still_passes(broker, hub)


def test_t045_a_message_of_20_mb_is_refused_on_both_sides_and_the_publisher_is_told(broker, hub, spokes):
    a, _, url = spokes
    huge = bytes(20 * MIB)
    assert isinstance(hub.publish(Outgoing(topology.COMMANDS, a, huge)).exception(WAIT_S), Nacked)
    with Attempts(url) as attempts:
        refused = attempts.publish(topology.EVENTS, topology.event_key(a, EventKind.LOG), huge)
    assert (refused.code, "larger than configured max size" in refused.said) == (406, True)
    assert an_honest_command_still_passes(broker, hub)


def test_t045_a_hundred_thousand_tiny_ones_fill_no_more_than_their_queue_and_no_memory(broker, hub, spokes):
    a, _, url = spokes
    before = psutil.Process().memory_info().rss
    spoke = AmqpConnection(url, name="flood")
    beat = Outgoing(topology.EVENTS, topology.event_key(a, EventKind.BEAT), b"x", persistent=False)
    for _ in range(10):
        for future in spoke.publish_many([beat] * 10_000):
            assert future.exception(WAIT_S) is None
    spoke.close()
    with Attempts(broker.hub_url) as attempts:
        channel = attempts._connection.channel()
        assert channel.queue_declare(topology.HUB_BEATS, passive=True).method.message_count <= 50_000
    beats = hub.consume(topology.HUB_BEATS, prefetch=100)
    assert len(beats.take(1_000, WAIT_S)) <= 100
    assert psutil.Process().memory_info().rss - before < 50 * MIB
    beats.close()
    assert an_honest_command_still_passes(broker, hub)


def test_t045_a_full_mailbox_says_so_to_the_hub(broker, hub, spokes):
    a, _, _ = spokes
    command = Outgoing(topology.COMMANDS, a, b"x")
    refusals = [future.exception(WAIT_S) for future in hub.publish_many([command] * 10_000 + [command] * 500)]
    assert any(isinstance(refusal, Nacked) for refusal in refusals)
    assert {type(refusal) for refusal in refusals} == {type(None), Nacked}
    assert an_honest_command_still_passes(broker, hub)


def test_t045_a_message_with_ten_thousand_headers_is_marked_and_taken_as_a_frame(broker, hub, spokes):
    a, _, url = spokes
    with Attempts(url) as attempts:
        key = topology.event_key(a, EventKind.RESULT)
        sent = attempts.publish(topology.EVENTS, key, b"frame", headers={f"{n}": n % 2 == 0 for n in range(10_000)})
    assert sent.allowed
    (delivery,) = hub.consume(topology.HUB_RESULTS, prefetch=1).take(1, WAIT_S)
    assert (delivery.body, delivery.suspicious) == (b"frame", True)
    assert an_honest_command_still_passes(broker, hub)


@pytest.mark.parametrize(
    ("content_type", "content_encoding"),
    [
        ("application/x-python-serialize", None),
        ("application/json", "gzip"),
        ("application/x-python-serialize", "gzip"),
    ],
)
def test_t046_content_type_and_encoding_mean_nothing(broker, hub, spokes, content_type, content_encoding):
    a, _, url = spokes
    bomb = gzip.compress(bytes(100 * MIB))
    with Attempts(url) as attempts:
        key = topology.event_key(a, EventKind.RESULT)
        attempts.publish(topology.EVENTS, key, bomb, content_type=content_type, content_encoding=content_encoding)
    (delivery,) = hub.consume(topology.HUB_RESULTS, prefetch=1).take(1, WAIT_S)
    assert delivery.body == bomb
    assert an_honest_command_still_passes(broker, hub)


class Impostor:
    """A TLS server at the broker's address with another key under the same name; keeps what it is sent."""

    def __init__(self, port, pair):
        self.received, self.visits = b"", 0
        self._context = tls.server_context(*pair)
        self._listener = socket.create_server(("127.0.0.1", port))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            self.visits += 1
            raw.settimeout(2)
            try:
                with self._context.wrap_socket(raw, server_side=True) as client:
                    self.received += client.recv(4096)
            except OSError:
                raw.close()

    def close(self):
        # Closing alone leaves the accept waiting.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


def test_t047_a_broker_with_another_key_under_the_same_name_gets_no_credentials(tmp_path, monkeypatch):
    requires("rabbitmq")
    monkeypatch.setattr("wire.amqp.link.backoff_s", lambda failures: 0.1)
    real, false = tls.make_certificate(secrets.token_bytes(32), "broker"), tls.make_certificate(b"f" * 32, "broker")
    for name, content in zip(("certificate.pem", "key.pem"), real, strict=True):
        (tmp_path / name).write_bytes(content)
    files = NodeTls(tmp_path / "certificate.pem", tmp_path / "key.pem")
    passwords = NodeCredentials("hub-password", "admin-password")
    node = PrivateNode(tmp_path, ("127.0.0.1", 0), credentials=passwords, tls=files, disk_free_limit="50MB")
    node.start()
    try:
        node.wait_ready(READY_S)
        context = tls.client_context([tls.spki_sha256(real[0])])
        hub = AmqpConnection(node.url(topology.HUB_USER, "hub-password"), name="pinned", tls=context)
        assert hub.wait_connected(WAIT_S)
        hub.publish(Outgoing(topology.INTENTS, topology.INTENT_KEY, b"over TLS")).result(WAIT_S)
        node.stop()
        impostor = Impostor(node.port, false)
        assert eventually(lambda: hub.state.startswith("refused"))
        assert Code.TLS_PIN in hub.state
        assert hub.state.count("SHA256:") == 2
        assert impostor.visits > 0
        impostor.close()
        assert impostor.received == b""
        # When the real one is back, so are we: nothing was forgotten, nothing has to be restarted.
        node.start()
        node.wait_ready(READY_S)
        assert hub.wait_connected(60)
        found = hub.consume(topology.HUB_INTENTS, prefetch=1).take(1, WAIT_S)
        assert [delivery.body for delivery in found] == [b"over TLS"]
        hub.close()
    finally:
        node.stop()


def test_t049_a_removed_spokes_credentials_open_nothing_and_its_connection_ends_at_once(broker, hub, spokes):
    a, _, url = spokes
    spoke = AmqpConnection(url, name="removed", publish_timeout_s=1)
    mailbox = spoke.consume(topology.spoke_queue(a), prefetch=1)
    assert spoke.wait_connected(WAIT_S)
    broker.admin.remove_tenant(topology.spoke_tenant(a))
    hub_side = hub.publish(Outgoing(topology.COMMANDS, a, os.urandom(8)))
    assert hub_side.exception(WAIT_S) is not None
    assert eventually(lambda: spoke.state.startswith("refused"))
    assert mailbox.take(1, 0.1) == []
    late = spoke.publish(Outgoing(topology.EVENTS, topology.event_key(a, EventKind.RESULT), b"late")).exception(WAIT_S)
    assert isinstance(late, BrokerRefused | ConnectionLost)
    with pytest.raises(ConnectionLost):
        Attempts(url)
    assert hub.consume(topology.HUB_RESULTS, prefetch=1).take(1, 0.1) == []
    spoke.close()
    assert an_honest_command_still_passes(broker, hub)

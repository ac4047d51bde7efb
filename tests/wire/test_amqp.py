"""The contract of wire/connection.py, kept over a real RabbitMQ."""

import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import wait

import pika
import pytest
from pika.adapters.utils.io_services_utils import _AsyncPlaintextTransport

from wire import topology
from wire.amqp import AmqpConnection
from wire.amqp.attempts import Attempts
from wire.amqp.gathering import GatheringConnection
from wire.amqp.link import Address, backoff_s
from wire.connection import Outgoing
from wire.errors import BrokerRefused, ConnectionLost, Nacked, Unroutable

pytestmark = pytest.mark.rabbitmq
WAIT_S = 20


@pytest.fixture
def connect():
    """Opens connections and closes them after the test."""
    opened = []

    def _connect(url, **options):
        connection = AmqpConnection(url, name=f"test {len(opened)}", **options)
        opened.append(connection)
        return connection

    yield _connect
    for connection in opened:
        connection.close()


@pytest.fixture
def hub(broker, connect):
    connection = connect(broker.hub_url, declare=topology.hub_topology())
    assert connection.wait_connected(WAIT_S)
    return connection


def take_all(subscription, count, *, ack=True):
    """Pull until `count` have come or time is up."""
    taken, deadline = [], time.monotonic() + WAIT_S
    while len(taken) < count and time.monotonic() < deadline:
        got = subscription.take(count - len(taken), 0.5)
        if ack:
            subscription.ack(got)
        taken += got
    return taken


def eventually(question, wait_s=WAIT_S):
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        if answer := question():
            return answer
        time.sleep(0.02)
    return question()


def test_a_command_travels_to_its_spoke_and_the_answer_back(broker, hub, connect):
    spoke_id, url = broker.make_spoke()
    spoke = connect(url)
    mailbox = spoke.consume(topology.spoke_queue(spoke_id), prefetch=8, exclusive=True)
    hub.publish(Outgoing(topology.COMMANDS, spoke_id, b"frame", "m1", expiration_ms=60_000)).result(WAIT_S)
    (command,) = take_all(mailbox, 1)
    assert (command.body, command.message_id, command.user_id) == (b"frame", "m1", topology.HUB_USER)
    assert (command.redelivered, command.suspicious) == (False, False)
    spoke.publish(Outgoing(topology.EVENTS, topology.event_key(spoke_id, "result"), b"done")).result(WAIT_S)
    (event,) = take_all(hub.consume(topology.HUB_RESULTS, prefetch=10), 1)
    assert (event.body, event.user_id) == (b"done", topology.spoke_user(spoke_id))
    assert spoke.state == hub.state == "connected"


def test_three_thousand_futures_are_all_confirmed_in_order(broker, hub):
    spoke_id, _ = broker.make_spoke()
    messages = [Outgoing(topology.COMMANDS, spoke_id, str(number).encode()) for number in range(3_000)]
    done = hub.publish_many(messages)
    assert wait(done, WAIT_S).not_done == set()
    assert {future.exception() for future in done} == {None}
    mailbox = hub.consume(topology.spoke_queue(spoke_id), prefetch=500)
    assert [int(delivery.body) for delivery in take_all(mailbox, 3_000)] == list(range(3_000))


def test_many_threads_publish_through_one_connection(broker, hub):
    spoke_id, _ = broker.make_spoke()

    def publish_some():
        for _ in range(50):
            hub.publish(Outgoing(topology.COMMANDS, spoke_id, b"x")).result(WAIT_S)

    threads = [threading.Thread(target=publish_some) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert len(take_all(hub.consume(topology.spoke_queue(spoke_id), prefetch=100), 400)) == 400


def test_only_the_message_that_reaches_no_queue_is_unroutable(broker, hub):
    spoke_id, _ = broker.make_spoke()
    good, bad = Outgoing(topology.COMMANDS, spoke_id, b""), Outgoing(topology.COMMANDS, "f" * 32, b"", "the-id")
    kinds = [type(future.exception(WAIT_S)) for future in hub.publish_many([good, bad, good, bad])]
    assert kinds == [type(None), Unroutable, type(None), Unroutable]


def test_a_full_queue_nacks_the_publisher(broker, hub):
    spoke_id, _ = broker.make_spoke()
    policy = {"pattern": "^spoke\\.", "apply-to": "queues", "priority": 9}
    broker.admin._put("policies/manyarm/tiny", policy | {"definition": {"max-length": 2, "overflow": "reject-publish"}})
    try:

        def nacked():
            future = hub.publish(Outgoing(topology.COMMANDS, spoke_id, b"x"))
            return isinstance(future.exception(WAIT_S), Nacked)

        assert eventually(nacked)
    finally:
        broker.admin._delete("policies/manyarm/tiny")


def test_what_was_not_acked_comes_again_after_the_connection_is_cut(broker, hub):
    spoke_id, _ = broker.make_spoke()
    mailbox = hub.consume(topology.spoke_queue(spoke_id), prefetch=3)
    hub.publish_many([Outgoing(topology.COMMANDS, spoke_id, str(n).encode()) for n in range(4)])
    first = take_all(mailbox, 3, ack=False)
    mailbox.ack(first[:1])
    # The fourth comes only when the broker has the first one's answer.
    first += take_all(mailbox, 1, ack=False)
    cut(hub)
    assert eventually(lambda: mailbox._generation > first[0].generation)
    mailbox.ack(first[1:3])
    again = take_all(mailbox, 3)
    assert [delivery.body for delivery in again] == [b"1", b"2", b"3"]
    assert all(delivery.redelivered for delivery in again)
    assert again[0].generation > first[0].generation


def test_acks_out_of_order_answer_exactly_those_messages(broker, hub):
    spoke_id, _ = broker.make_spoke()
    mailbox = hub.consume(topology.spoke_queue(spoke_id), prefetch=10)
    hub.publish_many([Outgoing(topology.COMMANDS, spoke_id, str(n).encode()) for n in range(6)])
    taken = take_all(mailbox, 6, ack=False)
    mailbox.ack([taken[4], taken[0], taken[2], taken[1]])
    mailbox.ack(taken[:1])
    mailbox.close()
    again = take_all(hub.consume(topology.spoke_queue(spoke_id), prefetch=10), 2)
    assert [delivery.body for delivery in again] == [b"3", b"5"]


def test_a_rejected_message_lies_among_the_dead_and_a_requeued_one_comes_again(broker, hub):
    spoke_id, _ = broker.make_spoke()
    mailbox = hub.consume(topology.spoke_queue(spoke_id), prefetch=10)
    hub.publish(Outgoing(topology.COMMANDS, spoke_id, b"bad")).result(WAIT_S)
    (first,) = take_all(mailbox, 1, ack=False)
    mailbox.reject(first, requeue=True)
    (second,) = take_all(mailbox, 1, ack=False)
    assert second.redelivered
    mailbox.reject(second)
    assert [dead.body for dead in take_all(hub.consume(topology.HUB_DEAD, prefetch=10), 1)] == [b"bad"]


def test_a_closed_subscription_gives_back_what_it_held(broker, hub):
    spoke_id, _ = broker.make_spoke()
    mailbox = hub.consume(topology.spoke_queue(spoke_id), prefetch=10)
    hub.publish(Outgoing(topology.COMMANDS, spoke_id, b"x")).result(WAIT_S)
    take_all(mailbox, 1, ack=False)
    mailbox.close()
    assert mailbox.take(1, 5) == []
    assert len(take_all(hub.consume(topology.spoke_queue(spoke_id), prefetch=10), 1)) == 1


def test_a_closed_subscription_hands_out_nothing_more(broker, hub):
    spoke_id, _ = broker.make_spoke()
    mailbox = hub.consume(topology.spoke_queue(spoke_id), prefetch=10)
    hub.publish_many([Outgoing(topology.COMMANDS, spoke_id, b"x")] * 5)
    assert eventually(lambda: len(mailbox._buffer) == 5)
    mailbox.close()
    assert mailbox.take(5, 0) == []
    assert len(take_all(hub.consume(topology.spoke_queue(spoke_id), prefetch=10), 5)) == 5


def test_subscribing_while_the_connection_comes_up_makes_one_consumer(broker, connect):
    spoke_id, url = broker.make_spoke()
    spoke = connect(url)
    subscriptions = [spoke.consume(topology.spoke_queue(spoke_id), prefetch=1) for _ in range(8)]
    assert spoke.wait_connected(WAIT_S)
    with Attempts(broker.hub_url) as attempts:
        channel = attempts._connection.channel()

        def consumers():
            return channel.queue_declare(topology.spoke_queue(spoke_id), passive=True).method.consumer_count

        assert eventually(lambda: consumers() == len(subscriptions))
        time.sleep(0.3)
        assert consumers() == len(subscriptions)


def test_a_callback_that_publishes_into_a_full_queue_does_not_stop_the_thread_it_runs_on(broker, hub, monkeypatch):
    spoke_id, _ = broker.make_spoke()
    message = Outgoing(topology.COMMANDS, spoke_id, b"x")
    outcome = []

    def publish_more(_future):
        monkeypatch.setattr("wire.amqp.publisher.QUEUE", 0)
        outcome.append(hub.publish(message))

    hub.publish(message).add_done_callback(publish_more)
    assert eventually(lambda: outcome)
    assert isinstance(outcome[0].exception(1), Nacked)


def test_a_channel_closed_by_the_broker_is_noticed_and_opened_again(broker, hub):
    spoke_id, _ = broker.make_spoke()
    refused = hub.publish(Outgoing("no-such-exchange", "key", b""))
    assert isinstance(refused.exception(WAIT_S), BrokerRefused)
    hub.publish(Outgoing(topology.COMMANDS, spoke_id, b"after")).result(WAIT_S)
    mailbox = hub.consume(topology.spoke_queue(spoke_id), prefetch=10)
    (taken,) = take_all(mailbox, 1, ack=False)
    # An acknowledgement of a tag that never was closes the consumer's channel: 406.
    hub._inward.call(lambda: mailbox._channel.basic_ack(999))
    assert [delivery.body for delivery in take_all(mailbox, 1)] == [b"after"]
    assert taken.body == b"after"
    assert eventually(lambda: hub.state == "connected")


def test_a_subscription_waits_for_a_queue_that_is_deleted_and_made_again(broker, hub):
    spoke_id, _ = broker.make_spoke()
    mailbox = hub.consume(topology.spoke_queue(spoke_id), prefetch=10)
    hub.publish(Outgoing(topology.COMMANDS, spoke_id, b"1")).result(WAIT_S)
    take_all(mailbox, 1)
    broker.admin.delete_queue(topology.spoke_queue(spoke_id))
    assert eventually(lambda: hub.state.startswith("refused"))
    broker.admin.declare(topology.spoke_topology(spoke_id))
    hub.publish(Outgoing(topology.COMMANDS, spoke_id, b"2")).result(WAIT_S)
    assert [delivery.body for delivery in take_all(mailbox, 1)] == [b"2"]
    assert hub.state == "connected"


def test_the_hubs_queues_are_declared_again_when_they_were_deleted(broker, hub):
    results = hub.consume(topology.HUB_RESULTS, prefetch=10)
    results.take(1, 0.2)
    broker.admin.delete_queue(topology.HUB_RESULTS)
    assert eventually(lambda: topology.HUB_RESULTS in broker.admin.queues())
    spoke_id, _ = broker.make_spoke()
    key = topology.event_key(spoke_id, "result")
    assert eventually(lambda: hub.publish(Outgoing(topology.EVENTS, key, b"r")).exception(WAIT_S) is None)
    assert take_all(results, 1)[0].body == b"r"


def test_a_wrong_password_is_said_and_tried_again_until_it_is_right(broker, connect):
    spoke_id, _ = broker.make_spoke()
    user = topology.spoke_user(spoke_id)
    spoke = connect(broker.url_for(user, "wrong"), publish_timeout_s=1)
    assert eventually(lambda: spoke.state.startswith("refused"))
    late = spoke.publish(Outgoing(topology.EVENTS, topology.event_key(spoke_id, "hello"), b""))
    assert isinstance(late.exception(WAIT_S), BrokerRefused)
    assert "wrong" not in spoke.state
    broker.admin.ensure_user(user, "wrong", topology.spoke_permissions(spoke_id))
    assert spoke.wait_connected(WAIT_S)


def test_a_close_fails_what_is_open_and_publishing_after_it_says_so(broker, connect):
    hub = connect(broker.hub_url)
    hub.close()
    hub.close()
    assert hub.state == "closed"
    assert isinstance(hub.publish(Outgoing(topology.COMMANDS, "x", b"")).exception(1), ConnectionLost)
    never = connect("amqp://hub:x@127.0.0.1:1/manyarm")
    waiting = never.publish(Outgoing(topology.COMMANDS, "x", b""))
    never.close()
    assert isinstance(waiting.exception(1), ConnectionLost)


def test_without_a_broker_a_publish_ends_at_its_deadline_and_never_holds_more_than_its_room(connect, monkeypatch):
    monkeypatch.setattr("wire.amqp.publisher.QUEUE", 5)
    away = connect("amqp://hub:x@127.0.0.1:1/manyarm", publish_timeout_s=1)
    futures = [away.publish(Outgoing(topology.COMMANDS, "x", b"")) for _ in range(8)]
    assert {type(future.exception(WAIT_S)) for future in futures} == {ConnectionLost}


# In a process without neighbours, and without a collector that would close what was forgotten.
ATTEMPTS = """
import gc, os, socket, sys, time
gc.disable()
from wire.amqp import AmqpConnection, link, publisher
link.backoff_s = lambda failures: 0.01
attempts = []
publisher.Publisher.down = lambda self, reason: attempts.append(reason)
silent = socket.create_server(("127.0.0.1", 0))
port, enough = {"refused": (1, 10), "silent": (silent.getsockname()[1], 0)}[sys.argv[1]]
open_before = len(os.listdir("/proc/self/fd"))
away = AmqpConnection(f"amqp://hub:x@127.0.0.1:{port}/manyarm", name="away")
while len(attempts) < enough:
    time.sleep(0.01)
there = silent
if not enough:
    there, _ = silent.accept()
    there.recv(8)
away.close()
if there is not silent:
    there.close()
print(len(os.listdir("/proc/self/fd")) - open_before)
"""


@pytest.mark.parametrize("broker", ["refused", "silent"])
def test_attempts_that_failed_and_one_that_is_given_up_leave_no_descriptor_open(broker):
    done = subprocess.run([sys.executable, "-c", ATTEMPTS, broker], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_a_message_with_a_header_that_goes_round_permissions_is_marked(broker, hub):
    spoke_id, _ = broker.make_spoke()
    channel = pika.BlockingConnection(pika.URLParameters(broker.hub_url)).channel()
    # The broker takes BCC away before it delivers, so that one shows in nothing.
    for headers in ({"CC": ["x"]}, {f"h{n}": n for n in range(17)}, {"h": 1}):
        channel.basic_publish(topology.COMMANDS, spoke_id, b"", pika.BasicProperties(headers=headers))
    channel.connection.close()
    taken = take_all(hub.consume(topology.spoke_queue(spoke_id), prefetch=10), 3)
    assert [delivery.suspicious for delivery in taken] == [True, True, False]


def test_backoff_is_spread_over_its_whole_span_and_bounded():
    spread = [backoff_s(20) for _ in range(500)]
    assert min(spread) < 3
    assert 27 < max(spread) <= 30
    assert max(backoff_s(1) for _ in range(200)) <= 1


def test_an_address_never_shows_its_password():
    address = Address.parse("amqps://us%40er:se%2Fcret@broker.example/v%2Fh")
    assert (address.host, address.port, address.user, address.vhost) == ("broker.example", 5671, "us@er", "v/h")
    assert address.password == "se/cret"
    assert "cret" not in repr(address)
    with pytest.raises(ValueError, match="amqp://user") as caught:
        Address.parse("http://user:se-cret@host/")
    assert "se-cret" not in str(caught.value)


def cut(connection):
    """Break both sockets under the connection, as a network does."""
    for link in (connection._outward, connection._inward):
        link.call(lambda link=link: link._connection._transport._sock.shutdown(socket.SHUT_RDWR))


def test_a_burst_of_messages_is_one_piece_for_the_socket_and_one_message_too(broker, connect, monkeypatch):
    pieces = []
    emit = GatheringConnection._adapter_emit_data

    def counted(self, data):
        pieces.append(len(data))
        emit(self, data)

    spoke_id, url = broker.make_spoke()
    connection = connect(url)
    assert connection.wait_connected(WAIT_S)
    monkeypatch.setattr(GatheringConnection, "_adapter_emit_data", counted)
    key = topology.event_key(spoke_id, topology.EventKind.RESULT)
    wait(connection.publish_many([Outgoing(topology.EVENTS, key, b"x" * 100) for _ in range(50)]), WAIT_S)
    assert len(pieces) == 1
    wait([connection.publish(Outgoing(topology.EVENTS, key, b"x" * 100))], WAIT_S)
    assert len(pieces) == 2
    wait(connection.publish_many([Outgoing(topology.EVENTS, key, b"x" * 60_000) for _ in range(3)]), WAIT_S)
    assert max(pieces) <= 64 * 1024


def test_what_the_socket_takes_is_sent_at_once_and_what_it_does_not_take_arrives_in_order(broker, connect, monkeypatch):
    waited = []
    write = _AsyncPlaintextTransport.write

    def counted(self, data):
        waited.append(len(data))
        write(self, data)

    spoke_id, url = broker.make_spoke()
    connection = connect(url)
    hub = connect(broker.hub_url)
    taken = hub.consume(topology.HUB_RESULTS, prefetch=200)
    assert connection.wait_connected(WAIT_S)
    assert hub.wait_connected(WAIT_S)
    monkeypatch.setattr(_AsyncPlaintextTransport, "write", counted)
    key = topology.event_key(spoke_id, topology.EventKind.RESULT)
    wait([connection.publish(Outgoing(topology.EVENTS, key, b"small"))], WAIT_S)
    assert waited == []
    large = [bytes([number]) * 500_000 for number in range(60)]
    wait(connection.publish_many([Outgoing(topology.EVENTS, key, body) for body in large]), WAIT_S)
    assert waited != []
    found = [delivery.body for _ in range(61) for delivery in taken.take(1, WAIT_S)]
    assert found == [b"small", *large]


def test_whoever_publishes_while_the_io_thread_waits_sends_by_itself(broker, connect, monkeypatch):
    senders = []
    emit = GatheringConnection._adapter_emit_data

    def noted(self, data):
        senders.append(threading.current_thread())
        emit(self, data)

    spoke_id, url = broker.make_spoke()
    connection = connect(url)
    assert connection.wait_connected(WAIT_S)
    monkeypatch.setattr(GatheringConnection, "_adapter_emit_data", noted)
    key = topology.event_key(spoke_id, topology.EventKind.RESULT)

    def sent_by_itself():
        wait([connection.publish(Outgoing(topology.EVENTS, key, b"x"))], WAIT_S)
        return senders[-1] is threading.current_thread()

    assert eventually(sent_by_itself)


def test_while_the_io_thread_is_at_work_it_sends_what_others_publish(broker, connect):
    spoke_id, url = broker.make_spoke()
    connection = connect(url)
    assert connection.wait_connected(WAIT_S)
    at_work, go_on = threading.Event(), threading.Event()

    def work():
        at_work.set()
        go_on.wait(WAIT_S)

    connection._outward.call(work)
    assert at_work.wait(WAIT_S)
    key = topology.event_key(spoke_id, topology.EventKind.RESULT)
    futures = [connection.publish(Outgoing(topology.EVENTS, key, b"x")) for _ in range(3)]
    assert not any(future.done() for future in futures)
    go_on.set()
    assert all(future.result(WAIT_S) is None for future in futures)


def test_an_ack_may_wait_for_the_next_delivery_but_not_for_long(broker, hub):
    spoke_id = broker.make_spoke()[0]
    mailbox = hub.consume(topology.spoke_queue(spoke_id), prefetch=10)
    for _ in range(2):
        hub.publish(Outgoing(topology.COMMANDS, spoke_id, b"job")).result(WAIT_S)
    first = take_all(mailbox, 2, ack=False)
    mailbox.ack(first)
    assert eventually(lambda: not mailbox._unanswered)
    hub.publish(Outgoing(topology.COMMANDS, spoke_id, b"job")).result(WAIT_S)
    mailbox.ack(take_all(mailbox, 1, ack=False))
    assert eventually(lambda: not mailbox._unanswered)


def test_acks_that_wait_are_sent_before_a_subscription_closes(broker, hub):
    spoke_id = broker.make_spoke()[0]
    mailbox = hub.consume(topology.spoke_queue(spoke_id), prefetch=10)
    hub.publish(Outgoing(topology.COMMANDS, spoke_id, b"first")).result(WAIT_S)
    mailbox.ack(take_all(mailbox, 1, ack=False))
    mailbox.close()
    hub.publish(Outgoing(topology.COMMANDS, spoke_id, b"second")).result(WAIT_S)
    again = take_all(hub.consume(topology.spoke_queue(spoke_id), prefetch=10), 1)
    assert [delivery.body for delivery in again] == [b"second"]

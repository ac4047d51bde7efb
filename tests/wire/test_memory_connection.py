"""The in-memory connection keeps the contract that the real one keeps."""

import pytest

from tests.fakes.memory import MemoryBroker, MemoryConnection, topic_matches
from wire import topology
from wire.connection import Outgoing
from wire.errors import BrokerRefused, ConnectionLost, Nacked, Unroutable

SPOKE = "0" * 32


@pytest.fixture
def broker():
    return MemoryBroker(max_queue=3)


@pytest.fixture
def hub(broker):
    return MemoryConnection(broker, topology.HUB_USER, blocked_wait_s=0.01)


@pytest.fixture
def spoke(broker):
    return MemoryConnection(broker, broker.add_spoke(SPOKE))


def test_a_command_reaches_its_spoke_and_is_gone_when_acked(hub, spoke):
    mailbox = spoke.consume(topology.spoke_queue(SPOKE), prefetch=8, exclusive=True)
    hub.publish(Outgoing(topology.COMMANDS, SPOKE, b"frame", "m1")).result(0)
    (delivery,) = mailbox.take(10, 1)
    assert (delivery.body, delivery.message_id, delivery.user_id) == (b"frame", "m1", topology.HUB_USER)
    mailbox.ack([delivery])
    spoke.lose()
    assert mailbox.take(10, 0) == []


def test_what_was_unanswered_comes_again_after_a_loss_and_its_old_ack_is_dropped(hub, spoke):
    mailbox = spoke.consume(topology.spoke_queue(SPOKE), prefetch=8)
    hub.publish(Outgoing(topology.COMMANDS, SPOKE, b"frame")).result(0)
    (first,) = mailbox.take(10, 1)
    spoke.lose()
    mailbox.ack([first])
    (again,) = mailbox.take(10, 1)
    assert (again.body, again.redelivered) == (b"frame", True)
    assert again.generation > first.generation


def test_an_event_under_its_own_name_reaches_the_hub(hub, spoke):
    spoke.publish(Outgoing(topology.EVENTS, topology.event_key(SPOKE, "result"), b"r")).result(0)
    (delivery,) = hub.consume(topology.HUB_RESULTS, prefetch=10).take(10, 1)
    assert delivery.user_id == topology.spoke_user(SPOKE)


def test_the_broker_says_no_as_the_real_one_does(broker, hub, spoke):
    other = topology.event_key("1" * 32, "result")
    refusals = {
        BrokerRefused: (spoke, Outgoing(topology.EVENTS, other, b"")),
        Unroutable: (hub, Outgoing(topology.COMMANDS, "2" * 32, b"")),
    }
    for error, (connection, message) in refusals.items():
        with pytest.raises(error):
            connection.publish(message).result(0)
    with pytest.raises(BrokerRefused):
        spoke.consume(topology.HUB_RESULTS, prefetch=1)


def test_a_full_queue_nacks_and_a_blocked_broker_does_too(broker, hub, spoke):
    message = Outgoing(topology.COMMANDS, SPOKE, b"")
    assert [future.exception(0) for future in hub.publish_many([message] * 3)] == [None] * 3
    with pytest.raises(Nacked):
        hub.publish(message).result(0)
    broker.block()
    with pytest.raises(Nacked, match="blocked"):
        hub.publish(message).result(0)
    broker.block(False)
    broker.down = True
    with pytest.raises(ConnectionLost):
        hub.publish(message).result(0)


def test_a_rejected_message_lies_among_the_dead(hub, spoke):
    mailbox = spoke.consume(topology.spoke_queue(SPOKE), prefetch=1)
    hub.publish(Outgoing(topology.COMMANDS, SPOKE, b"bad")).result(0)
    mailbox.reject(mailbox.take(1, 1)[0])
    assert [found.body for found in hub.consume(topology.HUB_DEAD, prefetch=1).take(1, 1)] == [b"bad"]


@pytest.mark.parametrize(
    ("pattern", "key", "match"),
    [
        ("*.result.#", "spoke-1.result", True),
        ("*.result.#", "relay-1.result.9", True),
        ("*.result.#", "a.b.result", False),
        ("#", "", True),
        ("*.beat", "spoke-1.beat.x", False),
    ],
)
def test_topic_patterns_match_by_words(pattern, key, match):
    assert topic_matches(pattern, key) is match

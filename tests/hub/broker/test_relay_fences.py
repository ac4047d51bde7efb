"""What RabbitMQ lets a relay do: read the mailboxes of its fleet and speak under its own name, and nothing besides."""

import secrets
from dataclasses import dataclass

import pytest

from wire import topology
from wire.amqp import AmqpConnection
from wire.amqp.attempts import Attempts
from wire.connection import Outgoing
from wire.errors import BrokerRefused, ConnectionLost
from wire.topology import DEFAULT_FLEET, EventKind

pytestmark = pytest.mark.rabbitmq

WAIT_S = 20


@dataclass(frozen=True)
class Fleet:
    """A relay, a listening spoke of its fleet, one of another fleet, and a polling spoke."""

    relay: str
    url: str
    listening: str
    elsewhere: str
    polling: str

    @property
    def queue(self) -> str:
        return topology.fleet_queue(DEFAULT_FLEET, self.listening)


@pytest.fixture
def fleet(broker) -> Fleet:
    relay, listening, elsewhere, password = (secrets.token_hex(16) for _ in range(4))
    broker.admin.ensure_tenant(topology.relay_tenant(relay, DEFAULT_FLEET), password)
    broker.admin.ensure_tenant(topology.listening_tenant(listening, DEFAULT_FLEET), "")
    # Begins with the name of the relay's fleet: a pattern without its end would let it read this one too.
    broker.admin.ensure_tenant(topology.listening_tenant(elsewhere, f"{DEFAULT_FLEET}-2"), "")
    url = broker.url_for(topology.relay_user(relay), password)
    return Fleet(relay, url, listening, elsewhere, broker.make_spoke()[0])


@pytest.fixture
def attempts(fleet):
    with Attempts(fleet.url) as made:
        yield made


def test_a_relay_takes_the_mail_of_its_fleet_and_publishes_under_its_own_name(broker, fleet):
    hub = AmqpConnection(broker.hub_url, name="hub")
    relay = AmqpConnection(fleet.url, name="relay")
    mail = relay.consume(fleet.queue, prefetch=1, exclusive=True)
    hub.publish(Outgoing(topology.COMMANDS, fleet.listening, b"a command")).result(WAIT_S)
    (delivery,) = mail.take(1, WAIT_S)
    assert delivery.body == b"a command"
    mail.ack([delivery])
    said = topology.relay_key(fleet.relay, EventKind.RESULT, fleet.listening)
    relay.publish(Outgoing(topology.EVENTS, said, b"a result")).result(WAIT_S)
    # Each queue of the hub has one consumer at a time.
    results, beats = (hub.consume(queue, prefetch=9) for queue in (topology.HUB_RESULTS, topology.HUB_BEATS))
    (heard,) = results.take(1, WAIT_S)
    assert (heard.user_id, heard.key, heard.suspicious) == (topology.relay_user(fleet.relay), said, False)
    for kind, heard_at in ((EventKind.ENROL, results), (EventKind.HINT, beats)):
        key = topology.relay_key(fleet.relay, kind, fleet.listening)
        relay.publish(Outgoing(topology.EVENTS, key, kind.encode())).result(WAIT_S)
        assert [one.body for one in heard_at.take(1, WAIT_S)] == [kind.encode()]
    relay.close()
    hub.close()


def test_of_two_relays_one_has_the_mailbox(broker, fleet):
    other, password = secrets.token_hex(16), secrets.token_hex(16)
    broker.admin.ensure_tenant(topology.relay_tenant(other, DEFAULT_FLEET), password)
    first = AmqpConnection(fleet.url, name="first")
    held = first.consume(fleet.queue, prefetch=1, exclusive=True)
    held.take(1, 0.2)
    with Attempts(broker.url_for(topology.relay_user(other), password)) as second:
        assert second.consume(fleet.queue).code == 403
    first.close()


def test_t051_a_relay_reads_no_other_queue(attempts, fleet):
    others = [
        topology.spoke_queue(fleet.polling),
        topology.fleet_queue(f"{DEFAULT_FLEET}-2", fleet.elsewhere),
        *(queue.name for queue in topology.hub_topology().queues),
    ]
    for queue in others:
        answers = [attempts.get(queue), attempts.consume(queue), attempts.purge(queue)]
        assert [answer.code for answer in answers] == [403] * 3, queue


def test_t051_a_relay_publishes_nothing_but_events_of_its_own(attempts, fleet):
    for key in (
        topology.event_key(fleet.polling, EventKind.RESULT),
        topology.relay_key(secrets.token_hex(16), EventKind.RESULT, fleet.listening),
    ):
        assert attempts.publish(topology.EVENTS, key).code == 403
    own = topology.relay_key(fleet.relay, EventKind.HINT, fleet.listening)
    assert not attempts.publish(topology.EVENTS, own, user_id=topology.spoke_user(fleet.polling)).allowed
    for exchange, key in (
        (topology.COMMANDS, fleet.listening),
        (topology.COMMANDS, fleet.polling),
        (topology.INTENTS, topology.INTENT_KEY),
        (topology.DEAD, "x"),
        ("", fleet.queue),
    ):
        assert attempts.publish(exchange, key).code == 403, exchange


def test_t051_a_relay_makes_binds_and_deletes_nothing(attempts, fleet):
    assert attempts.delete_queue(fleet.queue).code == 403
    assert attempts.bind(fleet.queue, topology.EVENTS, "#").code == 403
    assert attempts.unbind(fleet.queue, topology.COMMANDS, fleet.listening).code == 403
    assert attempts.declare_queue(topology.fleet_queue(DEFAULT_FLEET, secrets.token_hex(16))).code == 403
    assert attempts.delete_exchange(topology.EVENTS).code == 403


def test_t049_a_removed_relays_credentials_open_nothing_and_its_connection_ends_at_once(broker, fleet):
    relay = AmqpConnection(fleet.url, name="removed", publish_timeout_s=1)
    mail = relay.consume(fleet.queue, prefetch=1)
    assert relay.wait_connected(WAIT_S)
    broker.admin.remove_tenant(topology.relay_tenant(fleet.relay, DEFAULT_FLEET))
    key = topology.relay_key(fleet.relay, EventKind.HELLO, fleet.listening)
    assert relay._outward.wait_state({"connecting"}, WAIT_S) or relay.state.startswith("refused")
    late = relay.publish(Outgoing(topology.EVENTS, key, b"late")).exception(WAIT_S)
    assert isinstance(late, BrokerRefused | ConnectionLost)
    assert mail.take(1, 0.1) == []
    relay.close()
    with pytest.raises(ConnectionLost):
        Attempts(fleet.url)
    # Its spokes' mail is there still: another relay takes it.
    assert fleet.queue in broker.admin.queues()


def test_a_removed_listening_spoke_leaves_no_mailbox(broker, fleet):
    broker.admin.remove_tenant(topology.listening_tenant(fleet.listening, DEFAULT_FLEET))
    assert fleet.queue not in broker.admin.queues()


def test_a_mailbox_of_a_fleet_has_the_limits_of_every_mailbox(broker, fleet):
    listed = broker.admin._call("GET", f"queues/{topology.VHOST}?disable_stats=true")
    assert {entry["name"]: entry.get("policy") for entry in listed}[fleet.queue] == "fleet-mailbox"

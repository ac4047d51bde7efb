"""Users, rights and mailboxes are made, changed and removed while the broker runs; each call may be repeated."""

import secrets

import pytest

from hub.broker.admin import BrokerAdmin
from hub.broker.definitions import password_hash
from hub.broker.errors import AdminRefused, AdminUnreachable
from tests.services.whole import until
from wire import topology
from wire.amqp import AmqpConnection
from wire.amqp.attempts import Attempts
from wire.connection import Outgoing
from wire.errors import ConnectionLost

pytestmark = pytest.mark.rabbitmq


def test_the_password_hash_is_rabbitmqs_own_form():
    assert password_hash("test12", bytes.fromhex("908DC60A")) == "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"


def test_everything_may_be_ensured_twice(broker):
    spoke_id = secrets.token_hex(16)
    for _ in range(2):
        broker.admin.ensure_vhost_and_hub_users(hub_password=broker.credentials.hub_password, portal_password="p" * 32)
        broker.admin.ensure_tenant(topology.spoke_tenant(spoke_id), "x" * 32)
    assert topology.spoke_queue(spoke_id) in broker.admin.queues()
    with Attempts(broker.url_for(topology.PORTAL_USER, "p" * 32)) as portal:
        assert portal.publish(topology.INTENTS, topology.INTENT_KEY).allowed
        assert portal.publish(topology.COMMANDS, spoke_id).code == 403
        assert portal.get(topology.HUB_INTENTS).code == 403
    for _ in range(2):
        broker.admin.remove_tenant(topology.spoke_tenant(spoke_id))
    assert topology.spoke_queue(spoke_id) not in broker.admin.queues()


def test_a_new_password_ends_the_old_ones_connection_at_once(broker):
    spoke_id, url = broker.make_spoke()
    spoke = AmqpConnection(url, name="old password", publish_timeout_s=1)
    assert spoke.wait_connected(20)
    broker.admin.ensure_tenant(topology.spoke_tenant(spoke_id), "another")
    assert spoke._outward.wait_state({"connecting"}, 20) or spoke.state.startswith("refused")
    spoke.close()
    with pytest.raises(ConnectionLost):
        Attempts(url)
    Attempts(broker.url_for(topology.spoke_user(spoke_id), "another")).__exit__(None, None, None)


def test_ensuring_what_is_so_already_cuts_no_connection(broker):
    spoke_id, _ = broker.make_spoke()
    broker.admin.ensure_tenant(topology.spoke_tenant(spoke_id), "the password")
    with Attempts(broker.url_for(topology.spoke_user(spoke_id), "the password")) as spoke:
        broker.admin.ensure_tenant(topology.spoke_tenant(spoke_id), "the password")
        assert spoke.get(topology.spoke_queue(spoke_id)).allowed


@pytest.mark.parametrize(
    "path",
    [
        "permissions/manyarm/{user}",
        "topic-permissions/manyarm/{user}",
        "user-limits/{user}/max-channels",
        "users/{user}",
    ],
)
def test_whatever_was_taken_from_a_spoke_is_given_again(broker, path):
    spoke_id, _ = broker.make_spoke()
    user = topology.spoke_user(spoke_id)
    broker.admin.ensure_tenant(topology.spoke_tenant(spoke_id), "the password")
    assert broker.admin._is_as_wanted(user, "the password", topology.spoke_permissions(spoke_id))
    broker.admin._delete(path.format(user=user))
    assert not broker.admin._is_as_wanted(user, "the password", topology.spoke_permissions(spoke_id))
    broker.admin.ensure_tenant(topology.spoke_tenant(spoke_id), "the password")
    assert broker.admin._is_as_wanted(user, "the password", topology.spoke_permissions(spoke_id))


def test_a_fleet_is_rebuilt_by_one_import(broker):
    passwords = {secrets.token_hex(16): secrets.token_hex(16) for _ in range(20)}
    tenants = [(topology.spoke_tenant(spoke_id), password) for spoke_id, password in passwords.items()]
    listening, relay = secrets.token_hex(16), secrets.token_hex(16)
    tenants += [
        (topology.listening_tenant(listening, "default"), ""),
        (topology.relay_tenant(relay, "default"), "relay's"),
    ]
    broker.admin.reconcile(tenants)
    broker.admin.reconcile(tenants)
    assert {topology.spoke_queue(spoke_id) for spoke_id in passwords} <= set(broker.admin.queues())
    spoke_id, password = next(iter(passwords.items()))
    other = next(reversed(passwords))
    with Attempts(broker.url_for(topology.spoke_user(spoke_id), password)) as spoke:
        assert spoke.get(topology.spoke_queue(spoke_id)).allowed
        assert spoke.get(topology.spoke_queue(other)).code == 403
        assert spoke.publish(topology.EVENTS, topology.event_key(other, "ack")).code == 403
    with Attempts(broker.url_for(topology.relay_user(relay), "relay's")) as attempts:
        assert attempts.get(topology.fleet_queue("default", listening)).allowed
        assert attempts.get(topology.spoke_queue(spoke_id)).code == 403
    limits = broker.admin._call("GET", f"user-limits/{topology.spoke_user(spoke_id)}")
    assert limits[0]["value"] == {"max-connections": 4, "max-channels": 16}


def test_every_queue_of_ours_has_exactly_one_policy(broker):
    spoke_id, _ = broker.make_spoke()
    listed = broker.admin._call("GET", f"queues/{topology.VHOST}?disable_stats=true")
    by_name = {entry["name"]: entry.get("policy") for entry in listed}
    assert by_name[topology.spoke_queue(spoke_id)] == "spoke-mailbox"
    assert {name: by_name[name] for name in by_name if name.startswith("hub.")} == {
        topology.HUB_RESULTS: "hub-results",
        topology.HUB_LOGS: "hub-logs",
        topology.HUB_BEATS: "hub-beats",
        topology.HUB_INTENTS: "hub-intents",
        topology.HUB_DEAD: "hub-dead",
    }


def test_a_wrong_password_and_a_broker_that_is_away_are_told_apart(broker):
    with pytest.raises(AdminRefused, match="401") as caught:
        BrokerAdmin(broker.node.admin_url, topology.ADMIN_USER, "wrong").users()
    assert caught.value.status == 401
    with pytest.raises(AdminUnreachable, match=r"127\.0\.0\.1:1 does not answer"):
        BrokerAdmin("http://127.0.0.1:1", topology.ADMIN_USER, "x").users()


@pytest.mark.parametrize("spoke_id", ["", "a" * 49, "A", "a.b", "a/b", "../x", "a*", "{username}", "a\n", "é"])
def test_an_id_that_could_mean_something_to_the_broker_never_reaches_it(spoke_id):
    for spell in (topology.spoke_user, topology.spoke_queue, topology.spoke_permissions, topology.spoke_topology):
        with pytest.raises(ValueError, match="a spoke id is"):
            spell(spoke_id)


def test_a_queue_of_an_earlier_type_is_made_anew_as_soon_as_it_is_empty_and_never_before(broker):
    admin, ours = broker.admin, topology.hub_topology()
    admin.delete_queue(topology.HUB_LOGS)
    bound = tuple(binding for binding in ours.bindings if binding.queue == topology.HUB_LOGS)
    admin.declare(topology.Topology(queues=(topology.Queue(topology.HUB_LOGS),), bindings=bound))
    hub = AmqpConnection(broker.hub_url, name="hub")
    held = Outgoing(topology.EVENTS, "spoke-1.log", b"what a spoke said")
    hub.publish(held).result(30)
    with pytest.raises(AdminRefused):
        admin.declare(ours)
    taken = hub.consume(topology.HUB_LOGS, prefetch=10)
    found = until(lambda: taken.take(10, 1), "what it held is gone")
    assert [delivery.body for delivery in found] == [held.body]
    taken.ack(found)
    taken.close()
    until(lambda: _declared(admin, ours), "it was not made anew")
    hub.close()
    admin.declare(ours)


def _declared(admin, part):
    try:
        admin.declare(part)
    except AdminRefused:
        return False
    return True

"""The start-up probe finds a fence that is down, and nothing where all stand."""

import pytest

from hub.broker.errors import BrokerError
from hub.broker.probe import denials
from wire import topology
from wire.topology import Permissions

pytestmark = pytest.mark.rabbitmq


def test_a_broker_with_our_permissions_lets_nothing_through_and_nothing_is_left_of_the_probe(broker):
    before = broker.admin.users(), broker.admin.queues()
    assert denials(broker.admin, broker.url_for) == []
    assert (broker.admin.users(), broker.admin.queues()) == before


@pytest.mark.parametrize(
    ("rights", "found"),
    [
        (Permissions("^$", "^events$", r"^spoke\..*", r"^{username}\.", "^$"), "consume spoke.probe-"),
        (Permissions("^$", "^events$", r"^spoke\.{id}", r"^{username}\.", "^$"), "get from spoke.probe-"),
        (
            Permissions("^$", ".*", r"^spoke\.{id}\.commands$", r"^{username}\.", "^$"),
            "publish by the default exchange",
        ),
        (Permissions("^$", "^events$", r"^spoke\.{id}\.commands$", ".*", "^$"), "publish as another spoke"),
        (Permissions("^$", "^events$", r"^spoke\.{id}\.commands$", None), "publish as another spoke"),
        (Permissions(".*", "^events$", r"^spoke\.{id}\.commands$", r"^{username}\.", "^$"), "declare a queue"),
    ],
)
def test_each_fence_that_is_down_is_named(broker, monkeypatch, rights, found):
    def loosened(spoke_id):
        return Permissions(
            rights.configure, rights.write, rights.read.replace("{id}", spoke_id), rights.topic_write, rights.topic_read
        )

    monkeypatch.setattr(topology, "spoke_permissions", loosened)
    allowed = denials(broker.admin, broker.url_for)
    assert any(line.startswith(found) for line in allowed), allowed


def test_a_guest_is_found(broker):
    broker.admin.ensure_user("guest", "guest", Permissions("^$", "^$", "^$"))
    assert denials(broker.admin, broker.url_for) == ["login as guest"]


def test_a_fence_before_honest_work_is_no_proof(broker, monkeypatch):
    monkeypatch.setattr(topology, "spoke_permissions", lambda spoke_id: Permissions("^$", "^$", "^$"))
    with pytest.raises(BrokerError, match="take from its own mailbox"):
        denials(broker.admin, broker.url_for)

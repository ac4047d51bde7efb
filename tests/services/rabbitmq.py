"""A private RabbitMQ node for the tests: one a session, started as the hub starts its own; queues empty for each test."""

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from hub.broker.admin import BrokerAdmin
from hub.broker.node import NodeCredentials, PrivateNode
from tests.services.requires import requires
from wire import topology

READY_S = 90


@dataclass(frozen=True, slots=True)
class Broker:
    """A running node; `hub_url` is the hub's own connection, `admin` its HTTP API."""

    node: PrivateNode
    credentials: NodeCredentials
    admin: BrokerAdmin

    @property
    def hub_url(self) -> str:
        return self.url_for(topology.HUB_USER, self.credentials.hub_password)

    def url_for(self, user: str, password: str) -> str:
        return self.node.url(user, password)

    def make_spoke(self) -> tuple[str, str]:
        """A spoke with its user, permissions and mailbox: its id, and the URL of its connection."""
        spoke_id, password = secrets.token_hex(16), secrets.token_hex(16)
        self.admin.ensure_tenant(topology.spoke_tenant(spoke_id), password)
        return spoke_id, self.url_for(topology.spoke_user(spoke_id), password)


@pytest.fixture(scope="session")
def broker_node() -> Iterator[Broker]:
    """The node of this session, as the last test has left it."""
    requires("rabbitmq")
    with running_broker() as broker:
        yield broker


@pytest.fixture
def broker(broker_node: Broker) -> Broker:
    """The node with no spokes and empty queues."""
    admin = broker_node.admin
    for user in admin.users():
        if user not in {topology.HUB_USER, topology.ADMIN_USER}:
            admin.remove_user(user)
    kept = {queue.name for queue in topology.hub_topology().queues}
    for queue in admin.queues():
        if queue in kept:
            admin.purge(queue)
        else:
            admin.delete_queue(queue)
    admin.declare(topology.hub_topology())
    return broker_node


@contextmanager
def running_broker(home: Path | None = None, port: int = 0) -> Iterator[Broker]:
    """A node of one's own, for tests that stop or kill it."""
    with tempfile.TemporaryDirectory(prefix="manyarm-mq-", ignore_cleanup_errors=True) as folder:
        credentials = NodeCredentials(secrets.token_hex(16), secrets.token_hex(16))
        node = PrivateNode(home or Path(folder), ("127.0.0.1", port), credentials=credentials, disk_free_limit="50MB")
        node.start()
        try:
            node.wait_ready(READY_S)
            admin = BrokerAdmin(node.admin_url, topology.ADMIN_USER, credentials.admin_password)
            admin.ensure_vhost_and_hub_users(hub_password=credentials.hub_password)
            yield Broker(node, credentials, admin)
        finally:
            node.stop()

"""The definitions document a node loads at boot: users, permissions, policies and the hub's own topology. PURE.

Loading it again changes nothing but what differs, so it is also how changed passwords reach a node.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable

from wire import integration_topology, topology
from wire.topology import Permissions, Tenant, Topology

Document = dict[str, object]
_KINDS = ("exchanges", "queues", "bindings")


def node_definitions(hub_password: str, admin_password: str, salt: bytes) -> Document:
    """Everything that stands before any spoke exists."""
    hub, others = topology.hub_topology(), integration_topology.hub_topology()
    parts = [_topology(hub, topology.VHOST), _topology(others, integration_topology.VHOST)]
    # The administrator declares queues over the HTTP API, and has no AMQP use.
    all_of_it = Permissions(".*", ".*", ".*")
    return {
        "vhosts": [{"name": topology.VHOST}, {"name": integration_topology.VHOST}],
        "users": [
            _user(topology.HUB_USER, hub_password, salt),
            _user(topology.ADMIN_USER, admin_password, salt, tags="administrator"),
        ],
        "permissions": [
            _permissions(topology.HUB_USER, topology.hub_permissions(), topology.VHOST),
            _permissions(topology.ADMIN_USER, all_of_it, topology.VHOST),
            _permissions(topology.HUB_USER, integration_topology.hub_permissions(), integration_topology.VHOST),
            _permissions(topology.ADMIN_USER, all_of_it, integration_topology.VHOST),
        ],
        "policies": [
            *(policy_document(policy, topology.VHOST) for policy in topology.POLICIES),
            *(policy_document(policy, integration_topology.VHOST) for policy in integration_topology.POLICIES),
        ],
        **{name: [entry for part in parts for entry in part[name]] for name in _KINDS},
    }


def tenant_definitions(tenants: Iterable[tuple[Tenant, str]], salt: bytes) -> Document:
    """User, rights and mailbox of each, with its password; limits have no place in it."""
    mailboxes = Topology()
    users: list[Document] = []
    topic_permissions: list[Document] = []
    permissions: list[Document] = []
    for tenant, password in tenants:
        mailboxes = mailboxes.plus(tenant.topology)
        if tenant.permissions is not None:
            users.append(_user(tenant.user, password, salt))
            topic_permissions.append(_topic_permissions(tenant.user, tenant.permissions))
            permissions.append(_permissions(tenant.user, tenant.permissions, topology.VHOST))
    return {
        "users": users,
        "topic_permissions": topic_permissions,
        "permissions": permissions,
        **_topology(mailboxes, topology.VHOST),
    }


def _topology(part: Topology, vhost: str) -> dict[str, list[Document]]:
    """Exchanges, queues and bindings, as the definitions format has them."""
    return {
        "exchanges": [
            {
                "name": exchange.name,
                "vhost": vhost,
                "type": exchange.kind,
                "durable": True,
                "auto_delete": False,
                "internal": False,
                "arguments": {},
            }
            for exchange in part.exchanges
        ],
        "queues": [
            {
                "name": queue.name,
                "vhost": vhost,
                "durable": True,
                "auto_delete": False,
                "arguments": queue.arguments,
            }
            for queue in part.queues
        ],
        "bindings": [
            {
                "source": binding.exchange,
                "vhost": vhost,
                "destination": binding.queue,
                "destination_type": "queue",
                "routing_key": binding.key,
                "arguments": {},
            }
            for binding in part.bindings
        ],
    }


def policy_document(policy: topology.Policy, vhost: str) -> Document:
    return {
        "vhost": vhost,
        "name": policy.name,
        "pattern": policy.pattern,
        "apply-to": "queues",
        "priority": 1,
        "definition": dict(policy.definition),
    }


def password_hash(password: str, salt: bytes) -> str:
    """RabbitMQ's form: the salt, then SHA-256 of salt and password, which is enough for random passwords."""
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _user(name: str, password: str, salt: bytes, *, tags: str = "") -> Document:
    return {
        "name": name,
        "password_hash": password_hash(password, salt),
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": tags,
    }


def _topic_permissions(user: str, permissions: Permissions) -> Document:
    return {
        "user": user,
        "vhost": topology.VHOST,
        "exchange": permissions.topic_exchange,
        "write": permissions.topic_write,
        "read": permissions.topic_read,
    }


def is_password(password: str, hashed: str) -> bool:
    """Whether RabbitMQ's form is of this password."""
    try:
        salt = base64.b64decode(hashed, validate=True)[:4]
    except ValueError:
        return False
    return len(salt) == 4 and hmac.compare_digest(password_hash(password, salt).encode(), hashed.encode())


def _permissions(user: str, permissions: Permissions, vhost: str) -> Document:
    return {
        "user": user,
        "vhost": vhost,
        "configure": permissions.configure,
        "write": permissions.write,
        "read": permissions.read,
    }

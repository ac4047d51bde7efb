"""Users, permissions, policies and queues of the broker, over its HTTP API; each call may be repeated at will."""

import json
import logging
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from urllib.parse import quote

import urllib3

from hub.broker.definitions import is_password, password_hash, policy_document, tenant_definitions
from hub.broker.errors import AdminRefused, AdminUnreachable
from wire import topology
from wire.topology import Permissions, Policy, Queue, Tenant, Topology

logger = logging.getLogger(__name__)

_TIMEOUT = urllib3.Timeout(connect=5, read=30)
# Only what surely did not arrive is sent again; all calls are idempotent, but a lost answer may hide a refusal.
_RETRIES = urllib3.Retry(connect=3, read=0, redirect=0, status=0, other=0, backoff_factor=0.2)
_CLOSE_TRIES = 3
# The HTTP API's word for AMQP's 406: it stands there with other arguments.
_INEQUIVALENT = 400


class BrokerAdmin:
    """The administrator's hand at the broker; may be used by several threads.

    Args:
        url: Of the HTTP API, `http://127.0.0.1:15673`.
        user: One with the tag administrator.
        password: Its password.
        vhost: Where all that it makes has its rights and its place.
    """

    def __init__(self, url: str, user: str, password: str, vhost: str = topology.VHOST) -> None:
        self._url = url.rstrip("/")
        self._user = user
        self._vhost = vhost
        self._headers = {
            **urllib3.make_headers(basic_auth=f"{user}:{password}"),
            "Content-Type": "application/json",
        }
        self._pool = urllib3.PoolManager(maxsize=4, timeout=_TIMEOUT, retries=_RETRIES)

    def close(self) -> None:
        self._pool.clear()

    def ensure_vhost_and_hub_users(self, *, hub_password: str, portal_password: str | None = None) -> None:
        """What the hub itself needs, at each start: on an existing broker for the first time, after a wipe again."""
        self._put(f"vhosts/{topology.VHOST}", {})
        self.ensure_user(topology.HUB_USER, hub_password, topology.hub_permissions())
        if portal_password is not None:
            self.ensure_user(topology.PORTAL_USER, portal_password, topology.portal_permissions())
        self.apply_policies()
        self.declare(topology.hub_topology())

    def ensure_vhost(self, hub_user: str, permissions: Permissions) -> None:
        """The virtual host, with the rights of the hub and of this administrator in it; their passwords stay."""
        self._put(f"vhosts/{_word(self._vhost)}", {})
        self.grant(self._user, Permissions(".*", ".*", ".*"))
        self.grant(hub_user, permissions)

    def grant(self, name: str, permissions: Permissions) -> None:
        rights = {"configure": permissions.configure, "write": permissions.write, "read": permissions.read}
        self._put(f"permissions/{_word(self._vhost)}/{_word(name)}", rights)

    def ensure_user(self, name: str, password: str, permissions: Permissions) -> None:
        """A user with exactly these rights; connections of an older right are closed, for channels cache theirs.

        One that has them already is left alone, its connections too.
        """
        if self._is_as_wanted(name, password, permissions):
            return
        existed = self._put(f"users/{_word(name)}", {"password_hash": _hashed(password), "tags": ""})
        where = f"{_word(self._vhost)}/{_word(name)}"
        # The topic rule comes first: without one every key is allowed.
        if permissions.topic_write is not None:
            rule = {
                "exchange": permissions.topic_exchange,
                "write": permissions.topic_write,
                "read": permissions.topic_read or "^$",
            }
            self._put(f"topic-permissions/{where}", rule)
        for limit, value in permissions.limits.items():
            self._put(f"user-limits/{_word(name)}/{limit}", {"value": value})
        self.grant(name, permissions)
        if existed and name != topology.HUB_USER:
            self.close_connections(name, "its rights were set anew")

    def remove_user(self, name: str) -> None:
        """The user and its connections; gone already is fine."""
        self._delete(f"users/{_word(name)}")
        self.close_connections(name, "the user was removed")

    def ensure_tenant(self, tenant: Tenant, password: str) -> None:
        """Its mailbox, then its user: a spoke that can log in finds its queue."""
        self.declare(tenant.topology)
        if tenant.permissions is not None:
            self.ensure_user(tenant.user, password, tenant.permissions)

    def remove_tenant(self, tenant: Tenant) -> None:
        """User first, which ends its connections, then the mailbox with what is in it."""
        if tenant.user:
            self.remove_user(tenant.user)
        if tenant.mailbox:
            self.delete_queue(tenant.mailbox)

    def reconcile(self, tenants: Sequence[tuple[Tenant, str]]) -> None:
        """All tenants of the hub in one import, 3 ms each: how an emptied broker is rebuilt from the hub's own rows."""
        self._call("POST", "definitions", tenant_definitions(tenants, secrets.token_bytes(4)))
        for tenant, _ in tenants:
            if tenant.permissions is not None:
                for limit, value in tenant.permissions.limits.items():
                    self._put(f"user-limits/{tenant.user}/{limit}", {"value": value})

    def apply_policies(self, policies: Iterable[Policy] = topology.POLICIES) -> None:
        for policy in policies:
            self._put(f"policies/{_word(self._vhost)}/{policy.name}", policy_document(policy, self._vhost))

    def declare(self, part: Topology) -> None:
        vhost = _word(self._vhost)
        for exchange in part.exchanges:
            self._put(f"exchanges/{vhost}/{_word(exchange.name)}", {"type": exchange.kind, "durable": True})
        for queue in part.queues:
            self._declare_queue(queue)
        for binding in part.bindings:
            self._call("POST", self._between(binding.exchange, binding.queue), {"routing_key": binding.key})

    def bind_exactly(self, exchange: str, queue: str, keys: Collection[str]) -> None:
        """These keys of an exchange lead to a queue, and no others."""
        where = self._between(exchange, queue)
        found = _columns(self._call("GET", where), "routing_key", "properties_key")
        present = {str(key): str(name) for key, name in found}
        for key in sorted(set(keys) - set(present)):
            self._call("POST", where, {"routing_key": key})
        for key in sorted(set(present) - set(keys)):
            self._delete(f"{where}/{_word(present[key])}")

    def _between(self, exchange: str, queue: str) -> str:
        return f"bindings/{_word(self._vhost)}/e/{_word(exchange)}/q/{_word(queue)}"

    def _declare_queue(self, queue: Queue) -> None:
        path = f"queues/{_word(self._vhost)}/{_word(queue.name)}"
        body = {"durable": True, "arguments": queue.arguments}
        try:
            self._put(path, body)
        except AdminRefused as refusal:
            # What an earlier release has declared: a queue's type cannot change. What holds something stays, and it is
            # tried again.
            if refusal.status != _INEQUIVALENT:
                raise
            logger.info("queue of another type is made anew", extra={"queue": queue.name})
            try:
                self._delete(path if queue.passing else f"{path}?if-empty=true")
            except AdminRefused as kept:
                # It holds something; or it is a quorum queue, of which the broker does not look whether it does.
                raise refusal from kept
            self._put(path, body)

    def delete_queue(self, name: str) -> None:
        self._delete(f"queues/{_word(self._vhost)}/{_word(name)}")

    def purge(self, queue: str) -> None:
        self._delete(f"queues/{_word(self._vhost)}/{_word(queue)}/contents")

    def close_connections(self, user: str, reason: str) -> None:
        """At once; a client with good credentials comes back."""
        path, headers = f"connections/username/{_word(user)}", {"X-Reason": reason}
        for _ in range(_CLOSE_TRIES - 1):
            # The broker fails where one of them ends by itself just then, as they do when their user is gone.
            if self._request("DELETE", path, None, headers, (200, 204, 404, 500)).status != 500:
                return
        self._call("DELETE", path, headers=headers, missing_is_fine=True)

    def users(self) -> list[str]:
        found = self._call("GET", "users?columns=name")
        return sorted(str(entry["name"]) for entry in found) if isinstance(found, list) else []

    def queues(self) -> list[str]:
        found = self._call("GET", f"queues/{_word(self._vhost)}?disable_stats=true&enable_queue_totals=true")
        return sorted(str(entry["name"]) for entry in found) if isinstance(found, list) else []

    def alarms(self) -> list[str]:
        """Why the broker blocks all publishers; empty when it does not."""
        found = self._call("GET", "health/checks/alarms", accepted=(200, 503))
        if not isinstance(found, dict) or found.get("status") == "ok":
            return []
        listed = found.get("alarms")
        names = [str(alarm.get("resource", alarm)) for alarm in listed] if isinstance(listed, list) else []
        return names or [str(found.get("reason", "unknown"))]

    def _is_as_wanted(self, name: str, password: str, permissions: Permissions) -> bool:
        where = f"{_word(self._vhost)}/{_word(name)}"
        user = self._call("GET", f"users/{_word(name)}", missing_is_fine=True)
        if not isinstance(user, dict) or not is_password(password, str(user.get("password_hash", ""))):
            return False
        rights = self._call("GET", f"permissions/{where}", missing_is_fine=True)
        topics = self._call("GET", f"topic-permissions/{where}", missing_is_fine=True)
        limits = self._call("GET", f"user-limits/{_word(name)}", missing_is_fine=True)
        wanted = (permissions.configure, permissions.write, permissions.read)
        rule = (permissions.topic_exchange, permissions.topic_write, permissions.topic_read or "^$")
        return (
            _columns(rights, "configure", "write", "read") == [wanted]
            and _columns(topics, "exchange", "write", "read") == ([rule] if permissions.topic_write is not None else [])
            and [value for (value,) in _columns(limits, "value")]
            == ([permissions.limits] if permissions.limits else [])
        )

    def _put(self, path: str, body: Mapping[str, object]) -> bool:
        """Whether it existed before."""
        return self._request("PUT", path, body, {}, (200, 201, 204)).status != 201

    def _delete(self, path: str) -> None:
        self._call("DELETE", path, missing_is_fine=True)

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        accepted: tuple[int, ...] = (200, 201, 204),
        missing_is_fine: bool = False,
    ) -> object:
        allowed = (*accepted, 404) if missing_is_fine else accepted
        answer = self._request(method, path, body, headers or {}, allowed)
        return json.loads(answer.data) if answer.data and answer.status != 404 else None

    def _request(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None,
        headers: Mapping[str, str],
        accepted: tuple[int, ...],
    ) -> urllib3.BaseHTTPResponse:
        try:
            answer = self._pool.request(
                method,
                f"{self._url}/api/{path}",
                body=None if body is None else json.dumps(body),
                headers={**self._headers, **headers},
            )
        except urllib3.exceptions.HTTPError as error:
            raise AdminUnreachable(f"the broker's HTTP API at {self._url} does not answer: {error}") from error
        if answer.status not in accepted:
            said = answer.data[:300].decode(errors="replace")
            raise AdminRefused(f"the broker refused {method} {path}: {answer.status} {said}", answer.status)
        return answer


def _columns(answer: object, *names: str) -> list[tuple[object, ...]]:
    """The named fields of each entry; the API answers one entry, or a list of them."""
    entries = answer if isinstance(answer, list) else [answer] if isinstance(answer, dict) else []
    return [tuple(entry.get(name) for name in names) for entry in entries]


def _hashed(password: str) -> str:
    return password_hash(password, secrets.token_bytes(4))


def _word(text: str) -> str:
    return quote(text, safe="")

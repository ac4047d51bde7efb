"""Keeps the broker as the hub needs it: users, policies, queues, one mailbox a spoke; made anew whenever it comes back.

A broker that was away may have been emptied: what the hub's rows say is put there again before anything relies on it.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event

from hub.broker.admin import BrokerAdmin
from hub.broker.errors import BrokerError
from wire import topology
from wire.topology import Tenant

logger = logging.getLogger(__name__)

_LOOK_S = 0.5
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 15.0


@dataclass(frozen=True, slots=True)
class BrokerAccountsParts:
    """`hub_password` "" where the settings bring a user of their own for the hub.

    `tenants`: every trusted spoke with its password, from the hub's rows; `tenant`: one of them. `state`: of the
    engine's connection. `is_stale`: what lies in the mailboxes is of a time that the hub has forgotten; `emptied` is
    told when it is gone.
    """

    admin: BrokerAdmin
    hub_password: str = field(repr=False)
    portal_password: str = field(repr=False)
    tenants: Callable[[], Sequence[tuple[Tenant, str]]]
    tenant: Callable[[str], Tenant]
    state: Callable[[], str]
    is_stale: Callable[[], bool] = lambda: False
    emptied: Callable[[], None] = lambda: None


class BrokerAccounts:
    """One for an engine; `run` is a loop of its own, the rest is called by others."""

    def __init__(self, parts: BrokerAccountsParts) -> None:
        self._parts = parts
        self.ready = Event()

    def run(self, stop: Event) -> None:
        """Set up at once, then after each time that the connection was away."""
        pause_s, was_away = _FIRST_PAUSE_S, True
        while not stop.is_set():
            is_away = self._parts.state() != "connected"
            if self.ready.is_set() and (is_away or not was_away):
                was_away = is_away
                stop.wait(_LOOK_S)
                continue
            try:
                self.set_up()
                pause_s, was_away = _FIRST_PAUSE_S, False
            except BrokerError as error:
                logger.warning("broker is not set up yet", extra={"reason": str(error), "next_try_s": pause_s})
                stop.wait(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def set_up(self) -> None:
        """Everything that the hub's rows ask of the broker; may be repeated.

        Raises:
            BrokerError: the broker's HTTP API is away, or refuses us.
        """
        parts = self._parts
        if parts.hub_password:
            parts.admin.ensure_vhost_and_hub_users(
                hub_password=parts.hub_password, portal_password=parts.portal_password
            )
        else:
            parts.admin.ensure_user(topology.PORTAL_USER, parts.portal_password, topology.portal_permissions())
            parts.admin.apply_policies()
            parts.admin.declare(topology.hub_topology())
        tenants = parts.tenants()
        if tenants:
            parts.admin.reconcile(tenants)
        if parts.is_stale():
            self._empty(tenants)
        self.ready.set()
        logger.info("broker is set up", extra={"spokes": len(tenants)})

    def _empty(self, tenants: Sequence[tuple[Tenant, str]]) -> None:
        """No command of a time that the hub has forgotten goes out any more; who is connected comes again, and says
        hello.
        """
        for tenant, _ in tenants:
            if tenant.mailbox:
                self._parts.admin.purge(tenant.mailbox)
            if tenant.user:
                self._parts.admin.close_connections(tenant.user, "the hub was restored")
        self._parts.emptied()
        logger.info("mailboxes are empty: the hub was restored", extra={"spokes": len(tenants)})

    def ensure_tenant(self, tenant: Tenant, password: str) -> None:
        self._parts.admin.ensure_tenant(tenant, password)

    def remove_tenant(self, tenant: Tenant) -> None:
        self._parts.admin.remove_tenant(tenant)

    def declare_mailbox(self, spoke_id: str) -> None:
        """A mailbox that the broker has lost; if it cannot be made now, the next set-up makes it."""
        try:
            self._parts.admin.declare(self._parts.tenant(spoke_id).topology)
        except BrokerError as error:
            logger.warning("mailbox could not be declared", extra={"spoke": spoke_id, "reason": str(error)})

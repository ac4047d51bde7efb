"""Keeps the broker as the hub needs it: users, policies, queues, one mailbox a spoke; made anew whenever it comes back.

A broker that was away may have been emptied: what the hub's rows say is put there again before anything relies on it.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Event

from hub.broker.admin import BrokerAdmin
from hub.broker.errors import BrokerError
from wire import topology

logger = logging.getLogger(__name__)

_LOOK_S = 0.5
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 15.0


@dataclass(frozen=True, slots=True)
class BrokerAccountsParts:
    """`hub_password` "" where the settings bring a user of their own for the hub.

    `mailboxes`: the broker password of each trusted spoke, from the hub's rows. `state`: of the engine's connection.
    """

    admin: BrokerAdmin
    hub_password: str = field(repr=False)
    portal_password: str = field(repr=False)
    mailboxes: Callable[[], Mapping[str, str]]
    state: Callable[[], str]


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
        mailboxes = parts.mailboxes()
        if mailboxes:
            parts.admin.reconcile_spokes(mailboxes)
        self.ready.set()
        logger.info("broker is set up", extra={"mailboxes": len(mailboxes)})

    def ensure_spoke(self, spoke_id: str, password: str) -> None:
        self._parts.admin.ensure_spoke(spoke_id, password)

    def remove_spoke(self, spoke_id: str) -> None:
        self._parts.admin.remove_spoke(spoke_id)

    def declare_mailbox(self, spoke_id: str) -> None:
        """A mailbox that the broker has lost; if it cannot be made now, the next set-up makes it."""
        try:
            self._parts.admin.declare(topology.spoke_topology(spoke_id))
        except BrokerError as error:
            logger.warning("mailbox could not be declared", extra={"spoke": spoke_id, "reason": str(error)})

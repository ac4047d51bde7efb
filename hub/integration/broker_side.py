"""The integrations' side of the broker: the virtual host, consumers' accounts and queues, and what comes into them.

All of it may be repeated, and is, whenever the broker was away: it may have been emptied. A consumer of some projects
hears of these alone: its queue is bound to the words that their slugs make. A slug is free again when its project is
gone; the word then changes hands before the first event of the new owner is published.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from hub.broker.admin import BrokerAdmin
from hub.integration.consumers import forget, password_of
from hub.states import ConsumerState
from hub.storage.database import write_tx
from hub.storage.models import Consumer, Project
from hub.storage.seals import RowSeals
from hub.storage.vault import Vault
from wire import integration_topology as topology
from wire.amqp import AmqpConnection

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BrokerSideParts:
    """`connect` opens the hub's own connection, once the virtual host is there; `hub_user` is whose it is."""

    admin: BrokerAdmin
    hub_user: str
    connect: Callable[[], AmqpConnection]
    vault: Vault
    seals: RowSeals


@dataclass(slots=True)
class BrokerSide:
    """Used by one thread, but for `connection`."""

    parts: BrokerSideParts
    connection: AmqpConnection | None = None
    _owners: dict[str, str] = field(default_factory=dict)
    _is_set_up: bool = False
    _altered: set[str] = field(default_factory=set)

    @property
    def is_ready(self) -> bool:
        """Whether everything stands and the connection has not been away since."""
        connected = self.connection is not None and self.connection.state == "connected"
        self._is_set_up = self._is_set_up and connected
        return self._is_set_up

    def set_up(self) -> None:
        """Virtual host, exchanges, policies, every consumer.

        Raises:
            BrokerError: the broker's HTTP API is away, or refuses us.
        """
        admin = self.parts.admin
        admin.ensure_vhost(self.parts.hub_user, topology.hub_permissions())
        admin.apply_policies(topology.POLICIES)
        admin.declare(topology.hub_topology())
        self._owners = {topology.word(row.slug): row.id for row in Project.select(Project.id, Project.slug)}
        for row in Consumer.select().where(Consumer.state == ConsumerState.READY):
            self._make(row)
        if self.connection is None:
            self.connection = self.parts.connect()
        self._is_set_up = self.connection.wait_connected(5.0)
        logger.info("integrations' side of the broker is set up", extra={"connected": self._is_set_up})

    def sweep(self) -> None:
        """Accounts that were asked for come, and those that were taken back go.

        Raises:
            BrokerError: as above.
        """
        for row in list(Consumer.select().where(Consumer.state != ConsumerState.READY)):
            if row.state is ConsumerState.REMOVED:
                self._remove(row)
            elif self._make(row):
                with write_tx():
                    Consumer.update(state=ConsumerState.READY).where(
                        Consumer.id == row.id, Consumer.state == ConsumerState.WANTED
                    ).execute()

    def owns(self, word: str, project: str) -> bool:
        """Whether what is published under that word reaches those who may hear of the project, and no others."""
        return self._owners.get(word) == project

    def hand_over(self, word: str, project: str) -> None:
        """The word belongs to that project from now on.

        Raises:
            BrokerError: as above.
        """
        self._owners[word] = project
        for row in Consumer.select().where(Consumer.state == ConsumerState.READY):
            if row.projects is not None:
                self._bind(row)

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None
        self._is_set_up = False

    def _make(self, row: Consumer) -> bool:
        if not self.parts.seals.holds(row):
            if row.id not in self._altered:
                self._altered.add(row.id)
                logger.error("consumer row was altered; it gets no account", extra={"consumer": row.id})
            return False
        # Its queue first: who can log in finds it, and from the first moment on.
        self.parts.admin.declare(topology.consumer_topology(row.id))
        self._bind(row)
        permissions = topology.consumer_permissions(row.id, commands=row.commands)
        self.parts.admin.ensure_user(topology.consumer_user(row.id), password_of(self.parts.vault, row), permissions)
        return True

    def _bind(self, row: Consumer) -> None:
        self.parts.admin.bind_exactly(topology.EVENTS, topology.events_queue(row.id), set(self._patterns(row)))

    def _patterns(self, row: Consumer) -> Iterable[str]:
        if row.projects is None:
            return ["#"]
        wanted = set(row.projects)
        return (topology.project_pattern(word) for word, owner in self._owners.items() if owner in wanted)

    def _remove(self, row: Consumer) -> None:
        """The user first, which ends its connections."""
        self.parts.admin.remove_user(topology.consumer_user(row.id))
        for queue in topology.consumer_topology(row.id).queues:
            self.parts.admin.delete_queue(queue.name)
        forget(row)
        logger.info("consumer removed", extra={"consumer": row.id})

"""Every name that hub and spokes have on the broker, and who may use it: no other file spells one of them.

                 commands (direct, key = spoke id)            spoke.<id>.commands  -> the spoke, exclusive
                                                              fleet.<fleet>.<id>.commands  -> a relay, exclusive
    hub  ------------------------------------------------>
         <------------------------------------------------  events (topic, key = <user>.<kind>)
                                                              (a relay's: relay-<id>.<kind>.<spoke it carries for>)
                 hub.results  hub.logs  hub.beats
    portal ----- intents (direct) ---> hub.intents           dead (topic) ---> hub.dead

These are fences, never authorisation: on RabbitMQ 3.10 the CC header goes round topic permissions. What integrations
meet stands in a virtual host of its own: wire/integration_topology.py.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

VHOST = "manyarm"

COMMANDS = "commands"
EVENTS = "events"
INTENTS = "intents"
DEAD = "dead"

HUB_RESULTS = "hub.results"
HUB_LOGS = "hub.logs"
HUB_BEATS = "hub.beats"
HUB_INTENTS = "hub.intents"
HUB_DEAD = "hub.dead"

HUB_USER = "hub"
ADMIN_USER = "hub-admin"
PORTAL_USER = "portal"
INTENT_KEY = "intent"
DEFAULT_FLEET = "default"

# A frame is at most 1 MiB and some header; the broker refuses what could be none. (RabbitMQ's default is 128 MiB.)
MAX_MESSAGE_BYTES = 2 * 1024 * 1024
MAX_HEADERS = 16
# On one connection, whose channels are numbered to 2047; a larger fleet has several relays.
RELAY_SPOKES_MAX = 2_000

_DAY_MS = 24 * 3600 * 1000
_GIB = 1024**3
# Ids go into regular expressions unescaped, so their alphabet is closed.
_ID = re.compile(r"[a-z0-9-]{1,48}")


class EventKind(StrEnum):
    """What a spoke says, as the second word of its routing key; the last two come from relays alone."""

    HELLO = "hello"
    ACK = "ack"
    RESULT = "result"
    REJECT = "reject"
    ROTATE = "rotate"
    LOG = "log"
    BEAT = "beat"
    ENROL = "enrol"  # A listening spoke that was introduced by its thumbprint.
    HINT = "hint"  # Why a relay does not reach a spoke: explains, decides nothing.


_EVENT_KINDS = frozenset(EventKind)
_RELAY_PREFIX = "relay-"


@dataclass(frozen=True, slots=True)
class Exchange:
    """Always durable."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Queue:
    """Always durable; limits stand in policies, for a queue's arguments can never change.

    `passing`: all that it holds stands in rows too, so one of another type may be removed for it. `ordered`: of those
    who consume one gets everything, in order, until it is gone; then the next one does, beginning with what the first
    had not answered.
    """

    name: str
    quorum: bool = False
    passing: bool = False
    ordered: bool = False

    @property
    def arguments(self) -> dict[str, str | bool]:
        kind: dict[str, str | bool] = {"x-queue-type": "quorum"} if self.quorum else {}
        return kind | ({"x-single-active-consumer": True} if self.ordered else {})


@dataclass(frozen=True, slots=True)
class Binding:
    exchange: str
    queue: str
    key: str


@dataclass(frozen=True, slots=True)
class Topology:
    """What must exist, in the order in which it is declared."""

    exchanges: tuple[Exchange, ...] = ()
    queues: tuple[Queue, ...] = ()
    bindings: tuple[Binding, ...] = ()

    def plus(self, other: "Topology") -> "Topology":
        """Both, each thing once."""
        return Topology(
            tuple(dict.fromkeys(self.exchanges + other.exchanges)),
            tuple(dict.fromkeys(self.queues + other.queues)),
            tuple(dict.fromkeys(self.bindings + other.bindings)),
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits of the queues whose name matches; one policy a queue, so the patterns are disjoint."""

    name: str
    pattern: str
    definition: Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Permissions:
    """Regular expressions of what a user may configure, write and read.

    `topic_write` and `topic_read` hold for `topic_exchange`; None means no rule, which RabbitMQ takes as "all keys".
    `limits`: max-connections and max-channels.
    """

    configure: str
    write: str
    read: str
    topic_write: str | None = None
    topic_read: str | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    topic_exchange: str = EVENTS


def spoke_user(spoke_id: str) -> str:
    """The broker's user of a spoke, which is also the first word of its keys."""
    return f"spoke-{_checked(spoke_id)}"


def spoke_queue(spoke_id: str) -> str:
    return f"spoke.{_checked(spoke_id)}.commands"


def event_key(spoke_id: str, kind: EventKind | str) -> str:
    return f"{spoke_user(spoke_id)}.{EventKind(kind)}"


def fleet_queue(fleet: str, spoke_id: str) -> str:
    """The mailbox of a listening spoke, which whichever relay of its fleet empties."""
    return f"fleet.{_checked(fleet)}.{_checked(spoke_id)}.commands"


def relay_user(relay_id: str) -> str:
    """The broker's user of a relay, which is also the first word of its keys."""
    return f"{_RELAY_PREFIX}{_checked(relay_id)}"


@dataclass(frozen=True, slots=True)
class CarriedKey:
    """A routing key taken apart: which relay says of which spoke."""

    relay_id: str
    kind: EventKind
    spoke_id: str

    @property
    def user(self) -> str:
        return relay_user(self.relay_id)


def is_relayed(key: str) -> bool:
    """Whether a routing key says that a relay has published it."""
    return key.startswith(_RELAY_PREFIX)


def carried_key(key: str) -> CarriedKey | None:
    """The parts of `relay_key`; None for any other."""
    user, _, rest = key.partition(".")
    kind, _, spoke_id = rest.partition(".")
    relay_id = user.removeprefix(_RELAY_PREFIX)
    known = is_relayed(key) and kind in _EVENT_KINDS and _ID.fullmatch(relay_id) and _ID.fullmatch(spoke_id)
    return CarriedKey(relay_id, EventKind(kind), spoke_id) if known else None


def relay_key(relay_id: str, kind: EventKind | str, spoke_id: str) -> str:
    """The key under which a relay passes on what that spoke says."""
    return f"{relay_user(relay_id)}.{EventKind(kind)}.{_checked(spoke_id)}"


@dataclass(frozen=True, slots=True)
class Tenant:
    """What the broker has for one spoke: an account, a mailbox, or both; "" and None for what it has not."""

    spoke_id: str
    user: str = ""
    permissions: Permissions | None = None
    mailbox: str = ""

    @property
    def topology(self) -> Topology:
        if not self.mailbox:
            return Topology()
        return Topology(queues=(Queue(self.mailbox),), bindings=(Binding(COMMANDS, self.mailbox, self.spoke_id),))


def spoke_tenant(spoke_id: str) -> Tenant:
    """One that takes its jobs from the broker."""
    return Tenant(spoke_id, spoke_user(spoke_id), spoke_permissions(spoke_id), spoke_queue(spoke_id))


def listening_tenant(spoke_id: str, fleet: str) -> Tenant:
    """One whose mail a relay brings: a mailbox alone."""
    return Tenant(spoke_id, mailbox=fleet_queue(fleet, spoke_id))


def relay_tenant(relay_id: str, fleet: str) -> Tenant:
    """A relay: an account alone."""
    return Tenant(relay_id, relay_user(relay_id), relay_permissions(relay_id, fleet))


def hub_topology() -> Topology:
    """What stands before any spoke exists."""
    kept = (
        EventKind.ACK,
        EventKind.RESULT,
        EventKind.HELLO,
        EventKind.REJECT,
        EventKind.ROTATE,
        EventKind.ENROL,
    )
    return Topology(
        exchanges=(
            Exchange(COMMANDS, "direct"),
            Exchange(EVENTS, "topic"),
            Exchange(INTENTS, "direct"),
            Exchange(DEAD, "topic"),
        ),
        queues=(
            Queue(HUB_RESULTS, quorum=True, ordered=True),
            Queue(HUB_LOGS, ordered=True),
            Queue(HUB_BEATS, passing=True, ordered=True),
            Queue(HUB_INTENTS, passing=True),
            Queue(HUB_DEAD, quorum=True),
        ),
        bindings=(
            *(Binding(EVENTS, HUB_RESULTS, f"*.{kind}.#") for kind in kept),
            Binding(EVENTS, HUB_LOGS, f"*.{EventKind.LOG}.#"),
            Binding(EVENTS, HUB_BEATS, f"*.{EventKind.BEAT}.#"),
            Binding(EVENTS, HUB_BEATS, f"*.{EventKind.HINT}.#"),
            Binding(INTENTS, HUB_INTENTS, INTENT_KEY),
            Binding(DEAD, HUB_DEAD, "#"),
        ),
    )


def spoke_topology(spoke_id: str) -> Topology:
    """The mailbox of one spoke."""
    return spoke_tenant(spoke_id).topology


# reject-publish: a full queue says so to the publisher, who keeps what it has; drop-head only where the newest counts.
POLICIES = (
    Policy(
        "spoke-mailbox",
        r"^spoke\.",
        {"dead-letter-exchange": DEAD, "message-ttl": 7 * _DAY_MS, "max-length": 10_000, "overflow": "reject-publish"},
    ),
    Policy(
        "fleet-mailbox",
        r"^fleet\.",
        {"dead-letter-exchange": DEAD, "message-ttl": 7 * _DAY_MS, "max-length": 10_000, "overflow": "reject-publish"},
    ),
    Policy(
        "hub-results",
        r"^hub\.results$",
        {"dead-letter-exchange": DEAD, "delivery-limit": 20, "max-length-bytes": _GIB, "overflow": "reject-publish"},
    ),
    Policy("hub-logs", r"^hub\.logs$", {"max-length-bytes": _GIB, "overflow": "reject-publish"}),
    Policy("hub-beats", r"^hub\.beats$", {"message-ttl": 60_000, "max-length": 50_000, "overflow": "drop-head"}),
    Policy(
        "hub-intents",
        r"^hub\.intents$",
        {"dead-letter-exchange": DEAD, "max-length": 100_000, "overflow": "reject-publish"},
    ),
    Policy("hub-dead", r"^hub\.dead$", {"max-length": 100_000, "overflow": "drop-head"}),
)


def hub_permissions() -> Permissions:
    ours = r"^(commands|events|intents|dead|(spoke|fleet|hub)\..*)$"
    return Permissions(configure=ours, write=ours, read=ours)


def portal_permissions() -> Permissions:
    """It may ask, and nothing else."""
    return Permissions(
        configure="^$", write=f"^{INTENTS}$", read="^$", limits={"max-connections": 2, "max-channels": 8}
    )


def spoke_permissions(spoke_id: str) -> Permissions:
    """Write events under its own name, read its own mailbox."""
    return Permissions(
        configure="^$",
        write=f"^{EVENTS}$",
        read=rf"^spoke\.{_checked(spoke_id)}\.commands$",
        topic_write=r"^{username}\.",
        topic_read="^$",
        limits={"max-connections": 4, "max-channels": 16},
    )


def relay_permissions(relay_id: str, fleet: str) -> Permissions:
    """Write events under its own name, read the mailboxes of its fleet: a channel and a consumer for each."""
    _checked(relay_id)
    return Permissions(
        configure="^$",
        write=f"^{EVENTS}$",
        read=rf"^fleet\.{_checked(fleet)}\..+$",
        topic_write=r"^{username}\.",
        topic_read="^$",
        # A refused exclusive consumer closes its channel, so each has one of its own.
        limits={"max-connections": 8, "max-channels": RELAY_SPOKES_MAX + 16},
    )


def _checked(spoke_id: str) -> str:
    if not _ID.fullmatch(spoke_id):
        raise ValueError(f"a spoke id is 1 to 48 of a-z, 0-9 and '-', not {spoke_id[:80]!r}")
    return spoke_id

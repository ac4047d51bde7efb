"""What integrations meet on the broker: a virtual host of its own, three exchanges, two queues a consumer. PURE.

    hub ------> manyarm.events.v1 (topic)    ---> consumer.<id>.events      -> the consumer
                  key = space.project.environment.entity.verb
    consumer -> manyarm.commands.v1 (topic)  ---> hub.commands              -> the hub
    hub ------> the default exchange         ---> consumer.<id>.answers     -> the consumer
    hub ------> manyarm.dead.v1 (topic)      ---> hub.dead                  -> people, with the reason in the headers

A consumer declares and binds nothing: the hub lays its queues out, and says what comes into them. It writes to one
exchange, whose every key ends in one queue, so a CC header leads nowhere else.
"""

import hashlib
import re

from wire.topology import Binding, Exchange, Permissions, Policy, Queue, Topology

VHOST = "manyarm-integration"

EVENTS = "manyarm.events.v1"
COMMANDS = "manyarm.commands.v1"
DEAD = "manyarm.dead.v1"
ANSWERS = ""  # The default exchange: the key is the queue's name.

HUB_COMMANDS = "hub.commands"
HUB_DEAD = "hub.dead"

SPACE = "default"
NOWHERE = "_"
"""The word for no project and for no environment, which no name becomes."""

# Command words that a consumer may send; both are routing keys as well.
REQUEST_KEY = "deployment.request"
CANCEL_KEY = "deployment.cancel"

_DAY_MS = 24 * 3600 * 1000
_MIB = 1024**2
_PLAIN = re.compile(r"[a-z0-9-]")
# Five words and four dots in 255 bytes; entity and verb are ours and short.
_WORD_MAX = 80
_CONSUMER = re.compile(r"consumer-([0-9a-f]{32})")


def word(name: str) -> str:
    """A name as one word of a routing key: lower case, what is no letter, digit or hyphen as `_hex_`.

    Two names are never one word (but by a chosen collision of 64 bits, where a name is too long for a word).
    """
    text = "".join(c if _PLAIN.fullmatch(c) else f"_{ord(c):x}_" for c in name.lower())
    if len(text) <= _WORD_MAX:
        return text
    return f"{text[:60]}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def event_key(project: str, environment: str, entity: str, verb: str) -> str:
    """`project` and `environment` are words already, or NOWHERE."""
    return f"{SPACE}.{project}.{environment}.{entity}.{verb}"


def project_pattern(project: str) -> str:
    """The binding by which a queue hears of one project."""
    return f"{SPACE}.{project}.#"


def consumer_user(consumer_id: str) -> str:
    return f"consumer-{_checked(consumer_id)}"


def consumer_of(user: str) -> str:
    """The id behind a broker user; "" where it is none of a consumer."""
    found = _CONSUMER.fullmatch(user)
    return found[1] if found else ""


def events_queue(consumer_id: str) -> str:
    return f"consumer.{_checked(consumer_id)}.events"


def answers_queue(consumer_id: str) -> str:
    return f"consumer.{_checked(consumer_id)}.answers"


def hub_topology() -> Topology:
    """What stands before any consumer exists."""
    return Topology(
        exchanges=(Exchange(EVENTS, "topic"), Exchange(COMMANDS, "topic"), Exchange(DEAD, "topic")),
        queues=(Queue(HUB_COMMANDS, quorum=True), Queue(HUB_DEAD)),
        # Whatever the key: a command that nobody knows is refused with a reason, not dropped.
        bindings=(Binding(COMMANDS, HUB_COMMANDS, "#"), Binding(DEAD, HUB_DEAD, "#")),
    )


def consumer_topology(consumer_id: str) -> Topology:
    """Its queues, not yet bound to anything."""
    return Topology(queues=(Queue(events_queue(consumer_id), quorum=True), Queue(answers_queue(consumer_id))))


# drop-head: a consumer that sleeps blocks nobody; the numbers show it what it missed, and the API gives it back.
POLICIES = (
    Policy(
        "consumer-events",
        r"^consumer\.[0-9a-f]+\.events$",
        {"max-length": 100_000, "max-length-bytes": 256 * _MIB, "message-ttl": 14 * _DAY_MS, "overflow": "drop-head"},
    ),
    Policy(
        "consumer-answers",
        r"^consumer\.[0-9a-f]+\.answers$",
        {"max-length": 10_000, "max-length-bytes": 16 * _MIB, "message-ttl": _DAY_MS, "overflow": "drop-head"},
    ),
    Policy(
        "hub-commands",
        r"^hub\.commands$",
        {"max-length": 10_000, "max-length-bytes": 64 * _MIB, "overflow": "reject-publish"},
    ),
    Policy(
        "hub-dead",
        r"^hub\.dead$",
        {"max-length": 10_000, "max-length-bytes": 64 * _MIB, "message-ttl": 30 * _DAY_MS, "overflow": "drop-head"},
    ),
)


def hub_permissions() -> Permissions:
    ours = r"^(manyarm\.(events|commands|dead)\.v1|hub\.(commands|dead))$"
    return Permissions(configure=ours, write=rf"{ours}|^amq\.default$", read=ours)


def consumer_permissions(consumer_id: str, *, commands: bool) -> Permissions:
    """Read its own two queues; write the two commands, if it may command at all."""
    return Permissions(
        configure="^$",
        write=f"^{re.escape(COMMANDS)}$" if commands else "^$",
        read=rf"^consumer\.{_checked(consumer_id)}\.(events|answers)$",
        topic_write=f"^({re.escape(REQUEST_KEY)}|{re.escape(CANCEL_KEY)})$" if commands else "^$",
        topic_read="^$",
        topic_exchange=COMMANDS,
        limits={"max-connections": 4, "max-channels": 16},
    )


def _checked(consumer_id: str) -> str:
    # It goes into regular expressions unescaped.
    if not _CONSUMER.fullmatch(f"consumer-{consumer_id}"):
        raise ValueError(f"a consumer's id is 32 of 0-9 and a-f, not {consumer_id[:80]!r}")
    return consumer_id

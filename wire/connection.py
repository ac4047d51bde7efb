"""What a party may do with the carrier of its messages, whatever the carrier is.

`wire/amqp` implements this over RabbitMQ, `tests/fakes/memory.py` in memory. Neither decides anything: identity is the
key that verified, so every property a delivery carries is a hint.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Properties:
    """What integrations' messages say of themselves outside of their body; "" and 0 for what is not said.

    Headers are texts: of what comes in, numbers are made into texts and all else is left out.
    """

    content_type: str = ""
    type: str = ""
    app_id: str = ""
    correlation_id: str = ""
    reply_to: str = ""
    timestamp_s: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to publish.

    `expiration_ms` is what is left of its life; the broker applies it at the head of the queue only, so the envelope's
    own `exp` decides. A message that is `mandatory` and reaches no queue fails as Unroutable.
    """

    exchange: str
    key: str
    body: bytes
    message_id: str = ""
    expiration_ms: int | None = None
    persistent: bool = True
    mandatory: bool = True
    properties: Properties | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message received and not yet answered.

    `user_id` is who the broker says has published ("" when unsaid). `suspicious`: it has a CC header, which goes round
    topic permissions (BCC does too, and the broker hides it), or more than 16 headers; no honest sender makes either.
    `tag` and `generation` name it to the broker; they mean nothing after the generation is lost. `properties` only of
    a message that has a content type: between hub and spokes none has.
    """

    body: bytes
    exchange: str
    key: str
    message_id: str
    user_id: str
    redelivered: bool
    suspicious: bool
    tag: int
    generation: int
    properties: Properties | None = None


class Subscription(Protocol):
    """The pull side of one queue; used by one thread at a time."""

    def take(self, limit: int, wait_s: float) -> list[Delivery]:
        """Up to `limit` deliveries in order; waits at most `wait_s` for the first, never for the rest."""
        ...

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Answer them as done; those of a lost generation are dropped, the broker delivers them again."""
        ...

    def reject(self, delivery: Delivery, *, requeue: bool = False) -> None:
        """Give one back, or to the dead-letter exchange."""
        ...

    def close(self) -> None:
        """Stop consuming; what is unanswered goes back to the queue."""
        ...


class Connection(Protocol):
    """Publishes with confirms and consumes with acknowledgements; reconnects by itself for ever."""

    def publish(self, message: Outgoing) -> "Future[None]":
        """Done when the broker has confirmed.

        The future fails with Unroutable, Nacked, or ConnectionLost (then nobody knows, and the caller's outbox sends
        it again). May wait, bounded, when a thousand are unconfirmed or the broker is blocked.
        """
        ...

    def publish_many(self, messages: Sequence[Outgoing]) -> "list[Future[None]]":
        """The same for a batch, with one wake-up of the I/O thread."""
        ...

    def consume(self, queue: str, *, prefetch: int, exclusive: bool = False) -> Subscription:
        """Start taking from a queue; after a reconnect it goes on by itself."""
        ...

    def close(self) -> None:
        """End threads and sockets; futures that are open fail with ConnectionLost."""
        ...

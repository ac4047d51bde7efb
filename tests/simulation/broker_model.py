"""A broker as bad as one may be: it delays, overtakes, delivers twice, loses confirms, goes away, and forgets on a wipe.

What it confirmed it keeps until somebody acknowledges it, unless its disk is wiped; parts of logs it may lose besides.
Of several consumers of a queue the one that came first gets everything, until it goes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.simulation.world import Actor, World

PROMPT_MS, SLOW_MS = 20, 4_000


@dataclass(slots=True, eq=False)
class Message:
    queue: str
    body: Any
    expires_ms: int
    stamp_ms: int = 0
    """When it was made, by its sender's clock."""
    at: int = 0
    """Over which connection it went out last; 0 for none."""


@dataclass(slots=True)
class _Consumer:
    actor: Actor
    take: Callable[[Message, int], None]
    connection: int
    """What was delivered over a former one comes again."""
    cut_until: int = 0


@dataclass(slots=True)
class Trouble:
    """How bad it is, each from 0 to 1."""

    twice: float = 0.0
    slow: float = 0.0
    confirm_lost: float = 0.0
    log_lost: float = 0.0


class Broker(Actor):
    """`down_until` and a consumer's `cut_until` say when it can be reached again."""

    def __init__(self, world: World, trouble: Trouble) -> None:
        super().__init__(world, "broker")
        self._trouble = trouble
        self._kept: dict[str, dict[Message, None]] = {}
        self._consumers: dict[str, list[_Consumer]] = {}
        self._connections = 0
        self._down_until = 0
        self.wiped = False

    # How it fails

    def go_down(self, length_ms: int) -> None:
        self.world.note(f"the broker is away for {length_ms} ms")
        self._down_until = self.world.now + length_ms
        for consumers in self._consumers.values():
            for consumer in consumers:
                consumer.connection = self._next_connection()
        self.after(length_ms, self._come_back)

    def wipe(self) -> None:
        """Its disk is empty after the next start."""
        self.wiped = True
        self._kept.clear()
        self.go_down(1_000)

    def behave(self) -> None:
        """No more tricks."""
        self._trouble = Trouble()

    def cut(self, actor: Actor, length_ms: int) -> None:
        """Nothing passes between the broker and this one."""
        self.world.note(f"{actor.name} is cut off for {length_ms} ms")
        for queue, consumers in self._consumers.items():
            for consumer in consumers:
                if consumer.actor is actor:
                    consumer.cut_until = self.world.now + length_ms
                    consumer.connection = self._next_connection()
                    self.after(length_ms, self._deliver_all, queue)
            if len(consumers) > 1:
                self._deliver_all(queue)

    def gone(self, actor: Actor) -> None:
        """Its process has ended, and with it its connection."""
        for queue, consumers in self._consumers.items():
            if any(one.actor is actor for one in consumers):
                consumers[:] = [one for one in consumers if one.actor is not actor]
                self._deliver_all(queue)

    # What it does

    def consume(self, queue: str, actor: Actor, take: Callable[[Message, int], None]) -> None:
        consumers = self._consumers.setdefault(queue, [])
        cut_until = max((one.cut_until for one in consumers if one.actor is actor), default=0)
        consumers[:] = [one for one in consumers if one.actor is not actor]
        consumers.append(_Consumer(actor, take, self._next_connection(), cut_until))
        self._deliver_all(queue)

    def publish(
        self,
        sender: Actor,
        queue: str,
        body: Any,
        done: Callable[[bool], None],
        *,
        expires_ms: int = 0,
        stamp_ms: int = 0,
    ) -> None:
        """Keep it and say so; `done(False)` where it may not have come."""
        now, chance = self.world.now, self.world.chance
        if now < self._down_until or self._is_cut(sender):
            sender.after(chance.randrange(50, 1_000), done, False)
            return
        if self._trouble.log_lost and queue == "logs" and not body.again and chance.random() < self._trouble.log_lost:
            sender.after(self._delay(), done, True)
            return
        for _ in range(2 if chance.random() < self._trouble.twice else 1):
            message = Message(queue, body, expires_ms, stamp_ms)
            self._kept.setdefault(queue, {})[message] = None
            self.after(self._delay(), self._deliver, message)
        sender.after(self._delay(), done, chance.random() >= self._trouble.confirm_lost)

    def ack(self, message: Message, connection: int) -> None:
        """Whoever took it over that connection is done with it."""
        if message.at == connection:
            self._kept.get(message.queue, {}).pop(message, None)

    def _delay(self) -> int:
        chance = self.world.chance
        return chance.randrange(SLOW_MS) if chance.random() < self._trouble.slow else chance.randrange(1, PROMPT_MS)

    def _is_cut(self, actor: Actor) -> bool:
        now = self.world.now
        return any(one.actor is actor and one.cut_until > now for found in self._consumers.values() for one in found)

    def _next_connection(self) -> int:
        self._connections += 1
        return self._connections

    def _active(self, queue: str) -> _Consumer | None:
        now = self.world.now
        return next((one for one in self._consumers.get(queue, ()) if one.actor.is_up and now >= one.cut_until), None)

    def _come_back(self) -> None:
        for queue in list(self._consumers):
            self._deliver_all(queue)

    def _deliver_all(self, queue: str) -> None:
        for message in self._kept.get(queue, ()):
            self.after(self._delay(), self._deliver, message)

    def _deliver(self, message: Message) -> None:
        consumer, now = self._active(message.queue), self.world.now
        if consumer is None or now < self._down_until:
            return
        kept = self._kept.get(message.queue, {})
        if message not in kept:
            return
        if message.expires_ms and now >= message.expires_ms:
            del kept[message]
            return
        if message.at == consumer.connection:
            return
        message.at = consumer.connection
        consumer.actor.after(0, consumer.take, message, consumer.connection)

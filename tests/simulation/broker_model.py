"""A broker as bad as one may be: it delays, overtakes, delivers twice, loses confirms, goes away, and forgets on a wipe.

What it confirmed it keeps until somebody acknowledges it, unless its disk is wiped.
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
    at: int = 0
    """Over which connection it went out last; 0 for none."""


@dataclass(slots=True)
class _Consumer:
    actor: Actor
    take: Callable[[Message, int], None]
    connected: int = 1
    """Counts connections: what was delivered over a former one comes again."""
    cut_until: int = 0


@dataclass(slots=True)
class Trouble:
    """How bad it is, each from 0 to 1."""

    twice: float = 0.0
    slow: float = 0.0
    confirm_lost: float = 0.0


class Broker(Actor):
    """`down_until` and a consumer's `cut_until` say when it can be reached again."""

    def __init__(self, world: World, trouble: Trouble) -> None:
        super().__init__(world, "broker")
        self._trouble = trouble
        self._kept: dict[str, dict[Message, None]] = {}
        self._consumers: dict[str, _Consumer] = {}
        self._down_until = 0
        self.wiped = False

    # How it fails

    def go_down(self, length_ms: int) -> None:
        self.world.note(f"the broker is away for {length_ms} ms")
        self._down_until = self.world.now + length_ms
        for consumer in self._consumers.values():
            consumer.connected += 1
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
        for queue, consumer in self._consumers.items():
            if consumer.actor is actor:
                consumer.cut_until = self.world.now + length_ms
                consumer.connected += 1
                self.after(length_ms, self._deliver_all, queue)

    # What it does

    def consume(self, queue: str, actor: Actor, take: Callable[[Message, int], None]) -> None:
        known = self._consumers.get(queue)
        consumer = _Consumer(actor, take)
        if known is not None:
            consumer.connected, consumer.cut_until = known.connected + 1, known.cut_until
        self._consumers[queue] = consumer
        self._deliver_all(queue)

    def publish(self, sender: Actor, queue: str, body: Any, done: Callable[[bool], None], expires_ms: int = 0) -> None:
        """Keep it and say so; `done(False)` where it may not have come."""
        now, chance = self.world.now, self.world.chance
        if now < self._down_until or self._is_cut(sender):
            sender.after(chance.randrange(50, 1_000), done, False)
            return
        for _ in range(2 if chance.random() < self._trouble.twice else 1):
            message = Message(queue, body, expires_ms)
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
        return any(one.actor is actor and one.cut_until > now for one in self._consumers.values())

    def _come_back(self) -> None:
        for queue in list(self._consumers):
            self._deliver_all(queue)

    def _deliver_all(self, queue: str) -> None:
        for message in self._kept.get(queue, ()):
            self.after(self._delay(), self._deliver, message)

    def _deliver(self, message: Message) -> None:
        consumer, now = self._consumers.get(message.queue), self.world.now
        if consumer is None or not consumer.actor.is_up or now < self._down_until or now < consumer.cut_until:
            return
        kept = self._kept.get(message.queue, {})
        if message not in kept:
            return
        if message.expires_ms and now >= message.expires_ms:
            del kept[message]
            return
        connection = consumer.actor.life * 1_000 + consumer.connected
        if message.at == connection:
            return
        message.at = connection
        consumer.actor.after(0, consumer.take, message, connection)

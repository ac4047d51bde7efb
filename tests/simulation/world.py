"""A world with one clock: whoever lives in it acts when its turn comes, and may be killed between any two effects.

Everything follows from a seed. Chance decides what comes first of what could happen at the same moment.
"""

import heapq
import random
from collections.abc import Callable


class Crashed(Exception):
    """The process that was acting is gone; what it had not made durable is lost."""


class Actor:
    """A process. `life` counts its starts: what was planned in an earlier one does not happen any more."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        self.life = 1
        self.is_up = True
        self.frozen_until = 0

    def after(self, wait_ms: int, do: Callable[..., object], *what: object) -> None:
        self.world.plan(wait_ms, self, do, what)

    def point(self) -> None:
        """Between two effects: here it may end."""
        world = self.world
        world.points += 1
        if world.points in world.crashes:
            raise Crashed

    def crash(self) -> None:
        """Lose what was only remembered; a supervisor starts it again a little later."""
        if not self.is_up:
            return
        self.is_up = False
        self.life += 1
        self.forget()
        self.world.killed.add(self.name)
        self.world.note(f"{self.name} crashes")
        self.after(self.world.chance.randrange(500, 20_000), self._begin_again)

    def freeze(self, length_ms: int) -> None:
        """Stopped and continued: it does nothing, and does not know."""
        self.world.note(f"{self.name} is frozen for {length_ms} ms")
        self.frozen_until = self.world.now + length_ms

    def _begin_again(self) -> None:
        self.is_up = True
        self.begin()

    def forget(self) -> None:
        """What does not outlive the process."""

    def begin(self) -> None:
        """What a process does first."""


class World:
    """Clock, chance, and what is to happen."""

    def __init__(self, seed: int, crashes: frozenset[int] = frozenset(), *, told: bool = False) -> None:
        self.chance = random.Random(seed)
        self.now = 0
        self.points = 0
        self.crashes = crashes
        self.killed: set[str] = set()
        self.story: list[str] | None = [] if told else None
        self._queue: list[tuple[int, float, Actor, int, Callable[..., object], tuple[object, ...]]] = []

    def plan(self, wait_ms: int, actor: Actor, do: Callable[..., object], what: tuple[object, ...]) -> None:
        heapq.heappush(self._queue, (self.now + wait_ms, self.chance.random(), actor, actor.life, do, what))

    def run(self, is_over: Callable[[], bool], until_ms: int) -> None:
        """Until it is over, nothing more happens, or that time has come."""
        queue = self._queue
        while queue and not is_over():
            due, _, actor, life, do, what = heapq.heappop(queue)
            if due > until_ms:
                return
            self.now = due
            if life != actor.life:
                continue
            if actor.frozen_until > due:
                heapq.heappush(queue, (actor.frozen_until, self.chance.random(), actor, life, do, what))
                continue
            try:
                do(*what)
            except Crashed:
                actor.crash()

    def note(self, words: str) -> None:
        if self.story is not None:
            self.story.append(f"{self.now / 1000:9.3f}  {words}")

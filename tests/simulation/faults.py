"""What goes wrong in a history, when, and how it is brought about."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.simulation.broker_model import Broker
from tests.simulation.hub_model import Hub
from tests.simulation.spoke_model import Spoke
from tests.simulation.world import Actor, World

# Nothing breaks after this; what is left must come to its end by itself.
TROUBLE_ENDS_MS = 240_000
_KINDS = (
    "kill", "kill", "kill", "cut", "cut", "broker", "broker", "reboot", "freeze", "wipe", "cancel", "cancel", "revoke",
    "clock", "restore", "tidy",
)  # fmt: skip
_LASTS = frozenset({"cut", "broker", "freeze"})
_JUMPS_MS = (-600_000, -130_000, -5_000, 5_000, 130_000, 600_000, 3_600_000)


@dataclass(slots=True)
class Fault:
    """`at`: milliseconds, or for a kill the number of the point.

    `length_ms`: how long it lasts; how far a clock is set; how old the backup is that is put back.
    """

    kind: str
    at: int
    whom: int = 0
    length_ms: int = 0

    def __str__(self) -> str:
        if self.kind == "kill":
            return f"kill at point {self.at}"
        words = {"clock": "by", "restore": "from a backup of before"}.get(self.kind, "for")
        return f"{self.kind} at {self.at / 1000:.1f} s" + (
            f" {words} {self.length_ms / 1000:.1f} s" if self.length_ms else ""
        )


def drawn_fault(chance: random.Random) -> Fault:
    kind = chance.choice(_KINDS)
    if kind == "kill":
        return Fault(kind, chance.randrange(1, 250))
    length_ms = 0
    if kind in _LASTS:
        length_ms = chance.choice((1_000, 5_000, 30_000, 90_000))
    elif kind == "clock":
        length_ms = chance.choice(_JUMPS_MS)
    elif kind == "restore":
        length_ms = chance.choice((1_000, 5_000, 20_000, 60_000))
    return Fault(kind, chance.randrange(TROUBLE_ENDS_MS // 4), chance.randrange(8), length_ms)


class People(Actor):
    """They ask again until a hub answers."""

    def __init__(self, world: World, hubs: Sequence[Hub]) -> None:
        super().__init__(world, "people")
        self._hubs = hubs

    def ask(self, what: Callable[..., None], *about: object) -> None:
        up = [hub for hub in self._hubs if hub.is_up and hub.frozen_until <= self.world.now]
        if up:
            what(self.world.chance.choice(up) if len(up) > 1 else up[0], *about)
        else:
            self.after(1_000, self.ask, what, *about)


@dataclass(frozen=True, slots=True)
class Stage:
    """All who play."""

    broker: Broker
    hubs: Sequence[Hub]
    spokes: Sequence[Spoke]
    people: People


def plan_fault(fault: Fault, stage: Stage) -> None:
    broker, hubs, spokes, people = stage.broker, stage.hubs, stage.spokes, stage.people
    spoke, hub = spokes[fault.whom % len(spokes)], hubs[0]
    actors = (*hubs, *spokes)
    anybody = actors[fault.whom % len(actors)]
    match fault.kind:
        case "cut":
            broker.after(fault.at, broker.cut, anybody, fault.length_ms)
        case "broker":
            broker.after(fault.at, broker.go_down, fault.length_ms)
        case "wipe":
            broker.after(fault.at, broker.wipe)
        case "freeze":
            broker.after(fault.at, anybody.freeze, fault.length_ms)
        case "reboot":
            broker.after(fault.at, spoke.reboot)
        case "cancel":
            people.after(fault.at, people.ask, type(hub).cancel)
        case "revoke":
            people.after(fault.at, people.ask, type(hub).revoke, spoke.name)
        case "clock":
            broker.after(fault.at, _set_clock, hubs, fault.length_ms)
        case "restore":
            _Backup(stage).plan(fault)
        case "tidy":
            broker.after(fault.at, _tidy, spoke)


def _set_clock(hubs: Sequence[Hub], by_ms: int) -> None:
    hubs[0].world.note(f"the hub's clock is set by {by_ms} ms")
    hubs[0].rows.skew_ms += by_ms
    for hub in hubs:
        if hub.is_up:
            hub.clock_was_set()


def _tidy(spoke: Spoke) -> None:
    spoke.world.note(f"{spoke.name} keeps its spools no more")
    spoke.machine.spools_gone = True


class _Backup:
    """Made while everybody works, and put back when somebody has stopped every engine."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._kept: dict[str, object] = {}

    def plan(self, fault: Fault) -> None:
        broker = self._stage.broker
        made_at = max(0, fault.at - fault.length_ms)
        broker.after(made_at, self._make)
        broker.after(fault.at + 1, self._put_back)

    def _make(self) -> None:
        hub = self._stage.hubs[0]
        hub.world.note("a backup is made")
        self._kept = hub.rows.backup()

    def _put_back(self) -> None:
        hubs = self._stage.hubs
        hubs[0].world.note("the hub is put back to its backup")
        hubs[0].rows.put_back(self._kept)
        # In the same transaction, before any engine serves again.
        hubs[0].restored()
        for hub in hubs:
            hub.crash()

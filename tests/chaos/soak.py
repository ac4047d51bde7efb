"""A soak: work without end on a fleet to which faults happen at random, then all is healed, and the oracle compares.

    make soak MINUTES=60 SEED=7         the same seed asks for the same work and strikes the same faults

What is asked for comes from one stream of chance, what is struck from another, each number by itself: a fault that finds
nothing to strike does not change the next.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.asking import Asked, Caller, until_answered
from tests.chaos.evidence import Case
from tests.chaos.faults import Struck, struck_by
from tests.chaos.fleet import PROJECT, VERSIONS, Fleet
from tests.chaos.gathering import FaultSpan, Gathering
from tests.chaos.memory import Memory
from tests.chaos.oracle import findings
from tests.chaos.witness import script

_TICK_S = 0.2
_UNFINISHED_MAX = 40
_AFTERMATH_S = 45.0
_END_S = 240.0
_SETTLE_S = 120.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How long faults are struck, and how often; spans are chosen between the two numbers."""

    seed: int
    fault_s: float
    ask_every_s: float = 3.0
    strike_every_s: tuple[float, float] = (2.0, 12.0)
    fault_lasts_s: tuple[float, float] = (1.0, 20.0)
    faults_at_once: int = 3


@dataclass
class Soak:
    """One run. `say` tells what happens as it does."""

    fleet: Fleet
    plan: Plan
    say: Callable[[str], None]
    asked: list[Asked] = field(default_factory=list)
    spans: list[FaultSpan] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory)

    def run(self) -> Case:
        """Work and faults, then healing; returns what everybody knows afterwards."""
        since_ms = int(time.time() * 1000)
        caller = Caller(self.fleet.url, self.fleet.environ["MANYARM_API_KEY"])
        ends = time.monotonic() + self.plan.fault_s
        with self._asking(ends), self.memory.watching(self.fleet.processes):
            self._strike_until(ends)
            self.say("healing")
            self.fleet.start_what_is_down()
            self.fleet.until_whole()
        for asked in self.asked:
            if asked.task is None:
                until_answered(caller, asked)
        tasks = [asked.task for asked in self.asked if asked.task is not None]
        self._until_all_have_ended(caller, tasks)
        gathering = Gathering(self.fleet, since_ms, self.spans)
        return self._settled(gathering)

    def _settled(self, gathering: Gathering) -> Case:
        """Clearing and the last of the logs come after the reports: what is still wrong after a while stays wrong."""
        ends = time.monotonic() + _SETTLE_S
        while findings(case := gathering.case(self.asked)) and time.monotonic() < ends:
            time.sleep(2)
        return case

    # Faults

    def _strike_until(self, ends: float) -> None:
        chance = random.Random(f"{self.plan.seed} when")
        number, next_at = 0, time.monotonic() + 1.0
        lasting: list[tuple[float, Struck, float]] = []
        while time.monotonic() < ends:
            now = time.monotonic()
            for one in [one for one in lasting if one[0] <= now]:
                lasting.remove(one)
                self._heal(one[1], one[2])
            if now >= next_at:
                number += 1
                next_at = now + chance.uniform(*self.plan.strike_every_s)
                lasts_s = chance.uniform(*self.plan.fault_lasts_s)
                if len(lasting) < self.plan.faults_at_once:
                    struck = self._strike(number)
                    lasting += [(now + lasts_s, struck, time.time())] if struck is not None else []
            time.sleep(_TICK_S)
        for _, struck, began in lasting:
            self._heal(struck, began)

    def _strike(self, number: int) -> Struck | None:
        found = struck_by(random.Random(f"{self.plan.seed} fault {number}"), self.fleet)
        if found is None:
            return None
        fault, struck = found
        self.faults[fault.name] = self.faults.get(fault.name, 0) + 1
        self.say(struck.words)
        return struck

    def _heal(self, struck: Struck, began: float) -> None:
        struck.heal()
        # What it led to shows for a while: processes start, connections are made, deadlines run out.
        self.spans.append(FaultSpan(struck.owner, began, time.time() + _AFTERMATH_S, struck.words, struck.jobs))

    # Work

    @contextmanager
    def _asking(self, ends: float) -> Iterator[None]:
        thread = threading.Thread(target=self._ask_until, args=(ends,), name="asking")
        thread.start()
        try:
            yield
        finally:
            thread.join(60)

    def _ask_until(self, ends: float) -> None:
        chance = random.Random(f"{self.plan.seed} work")
        caller = Caller(self.fleet.url, self.fleet.environ["MANYARM_API_KEY"])
        number = 0
        while time.monotonic() < ends:
            wait_until = time.monotonic() + self.plan.ask_every_s
            number += 1
            asked = self._question(number, chance)
            cancels = chance.random() < 0.15
            if self._unfinished(caller) < _UNFINISHED_MAX:
                self.asked.append(asked)
                caller.ask(asked)
                if cancels:
                    time.sleep(chance.uniform(0, 1.5))
                    self._cancel(caller)
            for late in [one for one in self.asked if one.task is None][:5]:
                caller.ask(late)
            time.sleep(max(0.0, wait_until - time.monotonic()))

    def _question(self, number: int, chance: random.Random) -> Asked:
        key = f"soak-{self.plan.seed}-{number}"
        if chance.random() < 0.25 and self.fleet.kinds:
            body: dict[str, Any] = {"project": PROJECT, "release": chance.choice(VERSIONS)}
            return Asked(key, "/deployments", {**body, "environment": chance.choice(("Here", "There"))})
        names = list(self.fleet.names)
        targets = chance.sample(names, min(len(names), chance.choice((1, 2, 3, 5, 8))))
        words = script(self.fleet.witness.path, chance.choice((0.05, 0.3, 1.0)))
        return Asked(key, "/runs", {"script": words, "targets": targets, "timeout_s": 120})

    def _cancel(self, caller: Caller) -> None:
        """The newest; a cancel that was sent may have been taken, whether or not its answer came."""
        newest = self.asked[-1]
        if newest.task is not None:
            newest.cancelled = True
            caller.cancel(newest.task)

    def _unfinished(self, caller: Caller) -> int:
        return sum(1 for one in self.asked[-_UNFINISHED_MAX:] if one.task is None or not caller.ended(one.task))

    def _until_all_have_ended(self, caller: Caller, tasks: list[str]) -> None:
        def left() -> list[str]:
            return [task for task in tasks if not caller.ended(task)]

        deadline = time.monotonic() + _END_S
        while (open_tasks := left()) and time.monotonic() < deadline:
            self.say(f"{len(open_tasks)} tasks have not ended yet")
            time.sleep(2)

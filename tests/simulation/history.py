"""One history from one seed: a small plan, scripts, faults in time and between effects; and the verdict over it.

told = tell(seed)            what went wrong, in words; empty where every promise held
tell(seed, without={3})      the same history without its fourth fault
points_of(seed)              how many places it has where a process may be killed
"""

import random
from collections.abc import Collection
from dataclasses import dataclass, field

from hub.orchestrator.plan import DeploymentPlan, PlannedJob, PlannedStep, PlannedTarget
from hub.orchestrator.states import Condition
from runner.contract.job import Named, ReleaseRef
from tests.simulation.broker_model import Broker, Trouble
from tests.simulation.faults import TROUBLE_ENDS_MS, Fault, People, Stage, drawn_fault, plan_fault
from tests.simulation.hub_model import Hub
from tests.simulation.hub_rows import Rows
from tests.simulation.machine_model import Machine, Script
from tests.simulation.spoke_model import Spoke
from tests.simulation.verdict import wrongs
from tests.simulation.world import World
from wire.messages import Limits

LIMIT_MS = 14_400_000
QUIET_MS = 7_200_000
PICKUP_S, WALL_S, GRACE_S = 90, 20, 2
PASSING_MS = 5_000
_PASSES = frozenset({"cut", "broker", "freeze", "clock"})
HUBS = ("the hub", "the other hub")


@dataclass(slots=True)
class History:
    """What a seed says before anything happens."""

    plan: DeploymentPlan
    scripts: dict[str, Script]
    spokes: tuple[str, ...]
    faults: list[Fault]
    trouble: Trouble
    engines: int


@dataclass(slots=True)
class Told:
    """What came of it."""

    wrong: list[str]
    faults: list[Fault]
    points: int
    story: list[str] = field(default_factory=list)


def tell(
    seed: int,
    without: Collection[int] = (),
    *,
    kills: Collection[int] = (),
    faultless: bool = False,
    story: bool = False,
    hub_kind: type[Hub] = Hub,
    spoke_kind: type[Spoke] = Spoke,
) -> Told:
    """Let it happen.

    Args:
        seed: From which all follows.
        without: Numbers of faults that do not happen.
        kills: Besides the faults of the seed: kills at these points.
        faultless: Nothing of the seed goes wrong.
        story: Keep what happened in words.
        hub_kind, spoke_kind: Who plays; worse ones show that the verdict sees it.
    """
    history = _drawn(seed)
    faults = [] if faultless else [fault for number, fault in enumerate(history.faults) if number not in without]
    faults += [Fault("kill", point) for point in kills]
    if faultless:
        history.trouble = Trouble()
    world = World(seed, frozenset(fault.at for fault in faults if fault.kind == "kill"), told=story)
    broker = Broker(world, history.trouble)
    rows = Rows(history.plan)
    hubs = [hub_kind(world, broker, rows, name) for name in HUBS[: history.engines]]
    for hub in hubs:
        hub.others = [other for other in hubs if other is not hub]
    spokes = [spoke_kind(world, broker, Machine(world, name, history.scripts)) for name in history.spokes]
    for actor in (*hubs, *spokes):
        actor.after(world.chance.randrange(1_000), actor.begin)
    people = People(world, hubs)
    people.after(2_000, people.ask, hub_kind.start_task)
    stage = Stage(broker, hubs, spokes, people)
    for fault in faults:
        plan_fault(fault, stage)
    broker.after(TROUBLE_ENDS_MS, broker.behave)
    world.run(lambda: _is_quiet(world, rows, spokes), LIMIT_MS)
    wrong = wrongs(rows, spokes, excused=_excuses(world, faults), deaf=_may_be_deaf(world, faults))
    return Told(wrong, faults, world.points, world.story or [])


def minimal(seed: int, *, hub_kind: type[Hub] = Hub, spoke_kind: type[Spoke] = Spoke) -> tuple[int, ...]:
    """The faults that a wrong history can do without, as many as possible."""
    without: tuple[int, ...] = ()
    for number in range(len(_drawn(seed).faults)):
        if tell(seed, (*without, number), hub_kind=hub_kind, spoke_kind=spoke_kind).wrong:
            without = (*without, number)
    return without


# What a seed says


def _drawn(seed: int) -> History:
    chance = random.Random(~seed)
    spokes = tuple(f"spoke-{number}" for number in range(1, chance.randrange(2, 5)))
    steps = [_step(chance, index, spokes) for index in range(chance.choice((1, 1, 2, 3)))]
    plan = DeploymentPlan(
        task="task",
        project=Named("project", "Storefront"),
        release=ReleaseRef("release", "1.0.0"),
        environment=Named("environment", "Production"),
        steps=tuple(steps),
        packages={},
        runner="",
    )
    scripts = {cid: _script(chance) for step in steps for job in step.jobs for cid in job.attempts}
    faults = [drawn_fault(chance) for _ in range(chance.choice((0, 1, 1, 2, 3, 5)))]
    trouble = Trouble(
        twice=chance.choice((0, 0.2)),
        slow=chance.choice((0, 0.1)),
        confirm_lost=chance.choice((0, 0.1)),
        log_lost=chance.choice((0, 0, 0.3)),
    )
    return History(plan, scripts, spokes, faults, trouble, engines=chance.choice((1, 1, 2)))


def _step(chance: random.Random, index: int, spokes: tuple[str, ...]) -> PlannedStep:
    attempts = chance.choice((1, 1, 2))
    jobs = tuple(
        PlannedJob(
            attempts=tuple(f"{index}.{spoke}.{attempt}" for attempt in range(attempts)),
            step=index,
            target=PlannedTarget(spoke, spoke, spoke),
        )
        for spoke in spokes
    )
    window = chance.randrange(1, len(jobs) + 1)
    batches = tuple(jobs[start : start + window] for start in range(0, len(jobs), window))
    return PlannedStep(
        index=index,
        name=f"step {index}",
        kind="run-script",
        batches=batches,
        limits=Limits(cpu_s=WALL_S, wall_s=WALL_S, out_bytes=1, disk_bytes=1),
        condition=chance.choice((Condition.SUCCESS, Condition.SUCCESS, Condition.ALWAYS, Condition.FAILURE)),
        grace_s=GRACE_S,
        pickup_s=PICKUP_S,
        prepare_s=30,
        retries=attempts - 1,
    )


def _script(chance: random.Random) -> Script:
    length_ms = chance.choice((10, 500, 3_000, 15_000, 25_000))
    prints = tuple(sorted(chance.randrange(min(length_ms, WALL_S * 1000)) for _ in range(chance.randrange(6))))
    return Script(length_ms, chance.choice((0, 0, 0, 1)), prints, WALL_S * 1000)


# When it is over


def _is_quiet(world: World, rows: Rows, spokes: list[Spoke]) -> bool:
    """The task is over and nobody has more to say or to ask of it."""
    if not rows.ended_ms or world.now < max(TROUBLE_ENDS_MS, rows.ended_ms) + 65_000:
        return False
    return (
        all(entry.reported or spoke.name in rows.revoked for spoke in spokes for entry in spoke.journal.values())
        and all(fetch.state != "open" for fetch in rows.fetches.values())
    ) or world.now > rows.ended_ms + QUIET_MS


def _may_be_deaf(world: World, faults: list[Fault]) -> bool:
    """Whether an engine may have begun with a clock that had been set back before."""
    went_back = any(fault.kind == "clock" and fault.length_ms < -PASSING_MS for fault in faults)
    begun_anew = bool(world.killed & {*HUBS}) or any(fault.kind == "restore" for fault in faults)
    return went_back and begun_anew


def _excuses(world: World, faults: list[Fault]) -> bool:
    """Whether so much went wrong that the end of a job may be out of anybody's sight.

    What passes within seconds is no excuse, nor is a hub that dies: everything is still there when they are back.
    """
    passing = all(
        fault.kind in ("kill", "cancel") or (fault.kind in _PASSES and abs(fault.length_ms) <= PASSING_MS)
        for fault in faults
    )
    return not passing or bool(world.killed - {*HUBS})

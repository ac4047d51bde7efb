"""One history from one seed: a small plan, scripts, faults in time and between effects; and the verdict over it.

told = tell(seed)            what went wrong, in words; empty where every promise held
tell(seed, without={3})      the same history without its fourth fault
points_of(seed)              how many places it has where a process may be killed
"""

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from hub.orchestrator.plan import DeploymentPlan, PlannedJob, PlannedStep, PlannedTarget
from hub.orchestrator.states import Condition
from hub.states import TASK_ENDED, JobState
from runner.contract.job import Named, ReleaseRef
from tests.simulation.broker_model import Broker, Trouble
from tests.simulation.hub_model import Hub, JobRow
from tests.simulation.machine_model import Machine, Script
from tests.simulation.spoke_model import Spoke
from tests.simulation.world import Actor, World
from wire.messages import Limits

# Nothing breaks after this; what is left must come to its end by itself.
TROUBLE_ENDS_MS = 240_000
LIMIT_MS = 3_600_000
PICKUP_S, WALL_S, GRACE_S = 60, 20, 2
PASSING_MS = 5_000


@dataclass(slots=True)
class Fault:
    """`at`: milliseconds, or for a kill the number of the point."""

    kind: str
    at: int
    whom: int = 0
    length_ms: int = 0

    def __str__(self) -> str:
        if self.kind == "kill":
            return f"kill at point {self.at}"
        return f"{self.kind} at {self.at / 1000:.1f} s" + (
            f" for {self.length_ms / 1000:.1f} s" if self.length_ms else ""
        )


@dataclass(slots=True)
class History:
    """What a seed says before anything happens."""

    plan: DeploymentPlan
    scripts: dict[str, Script]
    spokes: tuple[str, ...]
    faults: list[Fault]
    trouble: Trouble


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
    kills: Collection[int] | None = None,
    story: bool = False,
    hub_kind: type[Hub] = Hub,
    spoke_kind: type[Spoke] = Spoke,
) -> Told:
    """Let it happen.

    Args:
        seed: From which all follows.
        without: Numbers of faults that do not happen.
        kills: Instead of every fault of the seed: kills at these points and nothing else.
        story: Keep what happened in words.
        hub_kind, spoke_kind: Who plays; worse ones show that the verdict sees it.
    """
    history = _drawn(seed)
    if kills is None:
        faults = [fault for number, fault in enumerate(history.faults) if number not in without]
    else:
        faults, history.trouble = [Fault("kill", point) for point in kills], Trouble()
    world = World(seed, frozenset(fault.at for fault in faults if fault.kind == "kill"), told=story)
    broker = Broker(world, history.trouble)
    hub = hub_kind(world, broker, history.plan)
    spokes = [spoke_kind(world, broker, Machine(world, name, history.scripts)) for name in history.spokes]
    for actor in (hub, *spokes):
        actor.after(world.chance.randrange(1_000), actor.begin)
    people = _People(world, hub)
    people.after(2_000, people.ask, hub.start_task)
    for fault in faults:
        _plan_fault(fault, broker, hub, spokes, people)
    broker.after(TROUBLE_ENDS_MS, broker.behave)
    world.run(lambda: _is_quiet(world, hub, spokes), LIMIT_MS)
    wrong = _wrongs(hub, spokes, broker, excused=_excuses(world, hub, faults))
    return Told(wrong, faults, world.points, world.story or [])


def minimal(seed: int) -> tuple[int, ...]:
    """The faults that a wrong history can do without, as many as possible."""
    without: tuple[int, ...] = ()
    for number in range(len(_drawn(seed).faults)):
        if tell(seed, (*without, number)).wrong:
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
    faults = [_fault(chance) for _ in range(chance.choice((0, 1, 1, 2, 3, 5)))]
    trouble = Trouble(chance.choice((0, 0.2)), chance.choice((0, 0.1)), chance.choice((0, 0.1)))
    return History(plan, scripts, spokes, faults, trouble)


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


def _fault(chance: random.Random) -> Fault:
    kind = chance.choice(
        (
            "kill",
            "kill",
            "kill",
            "cut",
            "cut",
            "broker",
            "broker",
            "reboot",
            "freeze",
            "wipe",
            "cancel",
            "cancel",
            "revoke",
        )
    )
    if kind == "kill":
        return Fault(kind, chance.randrange(1, 250))
    length_ms = chance.choice((1_000, 5_000, 30_000, 90_000)) if kind in ("cut", "broker", "freeze") else 0
    return Fault(kind, chance.randrange(TROUBLE_ENDS_MS // 4), chance.randrange(8), length_ms)


class _People(Actor):
    """They ask again until a hub answers."""

    def __init__(self, world: World, hub: Hub) -> None:
        super().__init__(world, "people")
        self._hub = hub

    def ask(self, what: Callable[..., None], *about: object) -> None:
        if self._hub.is_up and self._hub.frozen_until <= self.world.now:
            what(*about)
        else:
            self.after(1_000, self.ask, what, *about)


def _plan_fault(fault: Fault, broker: Broker, hub: Hub, spokes: list[Spoke], people: _People) -> None:
    spoke, anybody = spokes[fault.whom % len(spokes)], (hub, *spokes)[fault.whom % (len(spokes) + 1)]
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
            people.after(fault.at, people.ask, hub.cancel)
        case "revoke":
            people.after(fault.at, people.ask, hub.revoke, spoke.name)


# The verdict


def _is_quiet(world: World, hub: Hub, spokes: list[Spoke]) -> bool:
    """The task is over and nobody has more to say of it."""
    if not hub.ended_ms or world.now < max(TROUBLE_ENDS_MS, hub.ended_ms) + 65_000:
        return False
    return (
        all(entry.reported or spoke.name in hub.revoked for spoke in spokes for entry in spoke.journal.values())
        or world.now > hub.ended_ms + 1_200_000
    )


def _excuses(world: World, hub: Hub, faults: list[Fault]) -> bool:
    """Whether so much went wrong that the end of a job may be out of anybody's sight.

    What passes within seconds is no excuse, nor is a hub that dies: everything is still there when they are back.
    """
    passing = all(fault.kind in ("kill", "cancel") or 0 < fault.length_ms <= PASSING_MS for fault in faults)
    return not passing or bool(world.killed - {hub.name})


def _wrongs(hub: Hub, spokes: list[Spoke], broker: Broker, *, excused: bool) -> list[str]:
    if hub.progress.state not in TASK_ENDED:
        return [f"the task never ended: {hub.progress.state}, {hub.timers}"]
    machines = {spoke.name: spoke.machine for spoke in spokes}
    wrong: list[str] = []
    for spoke in spokes:
        wrong += [f"{cid} was started {len(at)} times" for cid, at in spoke.machine.starts.items() if len(at) > 1]
        wrong += [
            f"{cid} was never reported"
            for cid, entry in spoke.journal.items()
            if not entry.reported and spoke.name not in hub.revoked
        ]
    for cid, job in hub.jobs.items():
        wrong += [f"{cid}: {words}" for words in _job_wrongs(cid, job, machines[job.spoke], hub, excused=excused)]
        if job.records is not None and job.spoke not in hub.revoked:
            wrong += [f"{cid}: {words}" for words in _log_wrongs(job, may_miss=broker.wiped)]
    return wrong + _order_wrongs(hub, machines)


def _job_wrongs(cid: str, job: JobRow, machine: Machine, hub: Hub, *, excused: bool) -> list[str]:
    run, started = machine.runs.get(cid), cid in machine.starts
    wrong: list[str] = []
    if job.state in (JobState.EXPIRED, JobState.REFUSED, JobState.UNKNOWN) and not excused:
        wrong.append(f"it is {job.state}, and nothing had gone wrong for long")
    if started and machine.starts[cid][0] >= (_expiry(hub, cid) or 0):
        wrong.append("it was started past its expiry")
    match job.state:
        case JobState.SUCCEEDED | JobState.FAILED | JobState.TIMED_OUT:
            # What was taken unheard and stopped again has failed.
            stopped = job.state is JobState.FAILED and run is not None and run.state == "cancelled"
            if run is None or (run.state != job.state and not stopped):
                wrong.append(f"the hub says {job.state}, the machine {run.state if run else 'that it never ran'}")
        case JobState.CANCELLED:
            if started and (run is None or run.state != "cancelled"):
                wrong.append(f"the hub says cancelled, the machine {run.state if run else 'started'}")
        case JobState.EXPIRED | JobState.REFUSED | JobState.SKIPPED | JobState.PLANNED:
            if started:
                wrong.append(f"the hub says {job.state}, and it was started")
        case JobState.UNKNOWN:
            pass
        case JobState.REVOKED:
            if job.spoke not in hub.revoked:
                wrong.append("it is revoked, and its spoke is not")
        case _:
            wrong.append(f"the task is over and it is {job.state}")
    return wrong


def _expiry(hub: Hub, cid: str) -> int:
    return next((row.expires_ms for row in hub.outbox if row.cid == cid and row.kind == "command"), 0)


def _log_wrongs(job: JobRow, *, may_miss: bool) -> list[str]:
    wrong: list[str] = []
    if len(set(job.lines)) != len(job.lines):
        wrong.append(f"lines came twice: {job.lines}")
    missing = {number for gap in job.cursor.gaps for number in range(gap.first, gap.last + 1)}
    assert job.records is not None
    if missing | set(job.lines) != set(range(job.records)) or missing & set(job.lines):
        wrong.append(f"of {job.records} records {sorted(job.lines)} came and {sorted(missing)} are said to be missing")
    if missing and not may_miss:
        wrong.append(f"records {sorted(missing)} are missing")
    if job.cursor.differs:
        wrong.append("its log does not follow on")
    return wrong


def _order_wrongs(hub: Hub, machines: dict[str, Machine]) -> list[str]:
    """A later attempt, batch or step never starts beside an earlier one of which nobody knows how it ended."""
    wrong: list[str] = []
    for step in hub.plan.steps:
        for job in step.jobs:
            for earlier, later in zip(job.attempts, job.attempts[1:], strict=False):
                wrong += _beside(machines[job.target.spoke], earlier, machines[job.target.spoke], later)
        for batch, following in zip(step.batches, step.batches[1:], strict=False):
            wrong += [
                words
                for one in batch
                for other in following
                if hub.jobs[one.attempts[-1]].state not in (JobState.UNKNOWN, JobState.REVOKED)
                for words in _beside(
                    machines[one.target.spoke], one.attempts[0], machines[other.target.spoke], other.attempts[0]
                )
            ]
    return wrong


def _beside(machine: Machine, earlier: str, other: Machine, later: str) -> list[str]:
    run, next_run = machine.runs.get(earlier), other.runs.get(later)
    if run is not None and next_run is not None and next_run.started_ms < run.ends_ms:
        return [f"{later} was started while {earlier} ran"]
    return []

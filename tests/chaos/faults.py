"""What is done to a fleet, chosen by a seed: kills, stops, networks that go wrong, disks that fill, cancels.

A fault strikes and gives back how it is healed; one that heals by itself gives back nothing to do.
"""

import contextlib
import os
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from spokes.agent.job_folder import supervisor_of
from tests.chaos.fleet import Fleet
from tests.chaos.proxy import FaultProxy, Trouble, Way

Heal = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Struck:
    """One fault that was struck: what it was, whom it met, how it is undone. `jobs` are those that it hit by name."""

    words: str
    owner: str
    heal: Heal
    jobs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fault:
    """`weight`: how often it is chosen, beside the others. `strike` gives None where there is nothing to strike."""

    name: str
    weight: int
    strike: Callable[[Fleet, random.Random], Struck | None]


def _nothing() -> None:
    return


def _kill(name: str) -> Callable[[Fleet, random.Random], Struck | None]:
    """kill -9; who is not watched by the hub's own daemon is started again when it heals."""

    def strike(fleet: Fleet, _: random.Random) -> Struck | None:
        process = fleet.processes().get(name)
        if process is None:
            return None
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
        return Struck(f"kill -9 {name}", name, fleet.start_what_is_down)

    return strike


def _stop(name: str) -> Callable[[Fleet, random.Random], Struck | None]:
    """SIGSTOP, and SIGCONT when it heals."""

    def strike(fleet: Fleet, _: random.Random) -> Struck | None:
        process = fleet.processes().get(name)
        if process is None:
            return None
        with contextlib.suppress(psutil.NoSuchProcess):
            process.suspend()
        return Struck(f"SIGSTOP {name}", name, lambda: _go_on(process))

    return strike


def _go_on(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.resume()


def _kill_light(fleet: Fleet, chance: random.Random) -> Struck | None:
    return _kill(chance.choice(sorted(fleet.light_groups)))(fleet, chance) if fleet.light_groups else None


def _stop_light(fleet: Fleet, chance: random.Random) -> Struck | None:
    return _stop(chance.choice(sorted(fleet.light_groups)))(fleet, chance) if fleet.light_groups else None


def _kill_supervisor(fleet: Fleet, chance: random.Random) -> Struck | None:
    """Of a job that runs on a real target: its end is then unknown, or a failure, and never a success."""
    running = [folder for kind in fleet.kinds for folder in (fleet.place(kind) / "jobs").glob("*") if _runs(folder)]
    if not running:
        return None
    folder = chance.choice(sorted(running))
    supervisor = supervisor_of(folder)
    process = supervisor.open() if supervisor is not None else None
    if process is None:
        return None
    try:
        signal.pidfd_send_signal(process, signal.SIGKILL)
    finally:
        os.close(process)
    return Struck(f"kill -9 the supervisor of {folder.name}", "supervisor", _nothing, (folder.name,))


def _runs(folder: Path) -> bool:
    return (folder / "supervisor").exists() and not (folder / "outcome.json").exists()


_WEATHERS: tuple[tuple[str, Trouble], ...] = (
    ("latency of 0.4 s", Trouble(latency_s=0.4)),
    ("a blackhole", Trouble(held=True)),
    ("a cut one way, to the hub", Trouble(Way.UP, held=True)),
    ("a cut one way, from the hub", Trouble(Way.DOWN, held=True)),
    ("a slow drip of 2,000 bytes/s", Trouble(bytes_per_s=2_000)),
    ("resets after 3,000 bytes", Trouble(reset_after=3_000)),
    ("no new connections", Trouble(refuses=True)),
    ("a turned bit", Trouble(Way.UP, flip_at=700)),
    ("a turned bit", Trouble(Way.DOWN, flip_at=900)),
)


def _weather(fleet: Fleet, chance: random.Random) -> Struck:
    """For half of the connections of a door, or all."""
    name, door = chance.choice((("broker", fleet.broker_door), ("gateway", fleet.gateway_door)))
    words, trouble = chance.choice(_WEATHERS)
    half = chance.random() < 0.5
    door.meet(trouble, (lambda number: number % 2 == 0) if half else None)
    where = "half of the connections to the" if half else "the way to the"
    return Struck(f"{where} {name}: {words}", "doors", door.heal)


def _cut(fleet: Fleet, chance: random.Random) -> Struck:
    door: FaultProxy = chance.choice((fleet.broker_door, fleet.gateway_door))
    vanish = chance.random() < 0.5
    (door.vanish if vanish else door.cut)()
    words = "every connection's other side vanishes" if vanish else "every connection is reset"
    return Struck(words, "doors", _nothing)


def _fill_disk(fleet: Fleet, _: random.Random) -> Struck | None:
    """Of the polling spoke, where its home is a small file system of its own."""
    home = fleet.spoke_home("polling")
    if not os.path.ismount(home):
        return None
    found = os.statvfs(home)
    used = (found.f_blocks - found.f_bfree) * found.f_frsize
    fleet.give_room(f"remount,size={used + 4_096}")
    return Struck("the disk of polling is full", "polling", fleet.give_room)


FAULTS: tuple[Fault, ...] = (
    Fault("kill hub", 3, _kill("hub")),
    Fault("kill portal", 1, _kill("portal")),
    Fault("kill gateway", 1, _kill("gateway")),
    Fault("kill relay", 2, _kill("relay")),
    Fault("kill ssh", 2, _kill("ssh")),
    Fault("kill local", 2, _kill("local")),
    Fault("kill polling", 3, _kill("polling")),
    Fault("kill listening", 2, _kill("listening")),
    Fault("kill light", 3, _kill_light),
    Fault("kill broker", 2, _kill("broker")),
    Fault("kill up", 1, _kill("up")),
    Fault("kill supervisor", 2, _kill_supervisor),
    Fault("stop hub", 2, _stop("hub")),
    Fault("stop broker", 2, _stop("broker")),
    Fault("stop portal", 1, _stop("portal")),
    Fault("stop polling", 1, _stop("polling")),
    Fault("stop listening", 1, _stop("listening")),
    Fault("stop relay", 1, _stop("relay")),
    Fault("stop light", 2, _stop_light),
    Fault("weather", 5, _weather),
    Fault("cut", 3, _cut),
    Fault("full disk", 2, _fill_disk),
)


def struck_by(chance: random.Random, fleet: Fleet) -> tuple[Fault, Struck] | None:
    """The next fault; None where the chosen one finds nothing to strike."""
    fault = chance.choices(FAULTS, [one.weight for one in FAULTS])[0]
    struck = fault.strike(fleet, chance)
    return None if struck is None else (fault, struck)

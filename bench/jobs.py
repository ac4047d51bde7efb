"""Bench 2: many jobs to many spokes, recorded one and all, against the bare exchange done one by one."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.bare import BareHub
from bench.figures import Figure, Table, Verdict, median
from bench.lent import bare_on_the_same_broker
from bench.meter import Meter, metered
from bench.simulated import enrol_all
from bench.stage import Stage, running_hub

SPOKES, JOBS = 50, 1_000
# On its machine a spoke has an interpreter to itself; here so many share one, as there is no room for fifty.
_SPOKES_A_PROCESS = 10


def jobs(*, quick: bool) -> list[Table]:
    """Rounds of 1,000 jobs, with the bare exchange before and after each."""
    spokes, count, rounds = (5, 50, 1) if quick else (SPOKES, JOBS, 5)
    # Fifty spokes that enrol from one address in a minute are refused by the gateway: here each has one of its own.
    with (
        metered() as door,
        running_hub(MANYARM_PUBLIC_NAME=f"127.0.0.1:{door.port}") as stage,
        _simulated(stage, door, spokes) as names,
        bare_on_the_same_broker(stage) as bare,
    ):
        _all_jobs(stage, names, spokes)
        bare_rates, rates = [_exchanges(bare, count)], []
        for _ in range(rounds):
            rates.append(_all_jobs(stage, names, count))
            bare_rates.append(_exchanges(bare, count))
    return [_table(spokes, count, rates, bare_rates)]


@contextmanager
def _simulated(stage: Stage, door: Meter, count: int) -> Iterator[list[str]]:
    door.target = stage.gateway_port
    names = [f"simulated-{number:02}" for number in range(count)]
    groups = {
        stage.folder / f"simulated-from-{first:02}": names[first : first + _SPOKES_A_PROCESS]
        for first in range(0, count, _SPOKES_A_PROCESS)
    }
    for folder, group in groups.items():
        enrol_all(stage, folder, group)
    processes = [subprocess.Popen([sys.executable, "-m", "bench.simulated", str(folder)]) for folder in groups]
    try:
        healthy = "SELECT count(*) FROM target WHERE name LIKE 'simulated-%' AND health = 'healthy' HAVING count(*) = ?"
        stage.rows.until(
            lambda: stage.rows.one(healthy, count),
            f"all {count} simulated spokes are healthy",
        )
        yield names
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(60)


def _all_jobs(stage: Stage, names: list[str], count: int) -> float:
    """Jobs a second, from the first request to the row of the last end."""
    (before,) = stage.rows.one("SELECT count(*) FROM job WHERE state = 'succeeded'") or (0,)
    started = time.perf_counter()
    for _ in range(count // len(names)):
        stage.api.run("true", *names)
    query = "SELECT count(*) FROM job WHERE state = 'succeeded' HAVING count(*) = ?"
    stage.rows.until(lambda: stage.rows.one(query, before + count), f"{count} jobs have succeeded")
    return count / (time.perf_counter() - started)


def _exchanges(bare: BareHub, count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        bare.exchange()
    return count / (time.perf_counter() - started)


def _table(spokes: int, count: int, rates: list[float], bare_rates: list[float]) -> Table:
    ratio = median(rates) / median(bare_rates)
    return Table(
        name="jobs",
        title=f"2  {count:,} jobs that do nothing, to {spokes} simulated spokes (real wire and journals)",
        figures=(
            Figure("bare pika, signed both ways, one by one", median(bare_rates), "/s", samples=len(bare_rates)),
            Figure("Manyarm", median(rates), "jobs/s", samples=len(rates), ratios={"bare, one by one": ratio}),
            Figure("Manyarm, slowest and quickest round", min(rates), "jobs/s", p95=max(rates)),
        ),
        verdicts=(Verdict("at least as many a second as the bare exchange", f"{ratio:.2f} times as many", ratio >= 1),),
        commands=(f"POST /api/v1/runs to {spokes} targets, {count // spokes} times",),
        notes=(
            f"From the first request to the row of the last end; {count // spokes} requests of {spokes} jobs each.",
            "Hub, broker, database and all spokes share the machine; a ratio above 1 is more than the floor.",
            f"{_SPOKES_A_PROCESS} spokes share a process.",
        ),
    )

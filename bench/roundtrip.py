"""Bench 1: from the API call to the recorded exit code of `true`, against the bare exchange and a warm ssh."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.breakdown import Window, breakdown
from bench.figures import Figure, Table, Verdict, median, timed
from bench.lent import bare_on_the_same_broker
from bench.sshd import WarmSsh, warm_ssh
from bench.stage import Stage, running_hub

_SCRIPT = "true"
_WARM_UP = 5
# A standby that is being made takes a core for a moment; nothing is timed in it.
_PAUSE_S = 0.3
_TRACING = Path(__file__).parent / "tracing"


def round_trip(*, quick: bool) -> list[Table]:
    """The timed rounds, then the same once more with notes, for the breakdown."""
    rounds = 3 if quick else 100
    with warm_ssh() as ssh, running_hub() as stage:
        times = _rounds(stage, ssh, rounds)
    return [_table(times), _breakdown(3 if quick else 50)]


def _rounds(stage: Stage, ssh: WarmSsh, rounds: int) -> dict[str, list[float]]:
    stage.add_spoke("warm")
    stage.add_spoke("cold", standby=False)
    times: dict[str, list[float]] = {}
    with bare_on_the_same_broker(stage) as bare:
        kinds: dict[str, Callable[[], None]] = {
            "bare": lambda: bare.exchange(_SCRIPT),
            "ssh": lambda: ssh.run(_SCRIPT),
            "warm": lambda: stage.run_to_the_end(_SCRIPT, "warm"),
            "cold": lambda: stage.run_to_the_end(_SCRIPT, "cold"),
        }
        for number in range(_WARM_UP + rounds):
            for name, once in kinds.items():
                time.sleep(_PAUSE_S if name in {"bare", "cold"} else 0.02)
                started = time.perf_counter()
                once()
                if number >= _WARM_UP:
                    times.setdefault(name, []).append(time.perf_counter() - started)
    return times


def _table(times: dict[str, list[float]]) -> Table:
    floors = {"bare exchange": times["bare"], "warm ssh": times["ssh"]}
    to_ssh, to_bare = (median(times["warm"]) / median(times[name]) for name in ("ssh", "bare"))
    return Table(
        name="roundtrip",
        title="1  Round trip: API call to recorded exit code of `true`",
        figures=(
            timed("bare pika, signed both ways, fork of bash", times["bare"]),
            timed("ssh over a warm ControlMaster", times["ssh"]),
            timed("Manyarm, supervisor standing by", times["warm"], floors),
            timed("Manyarm, supervisor started for the job", times["cold"], floors),
        ),
        verdicts=(
            Verdict("no slower than warm ssh", f"{to_ssh:.2f} times its time", to_ssh <= 1),
            Verdict("at most 4 times the bare exchange", f"{to_bare:.2f} times its time", to_bare <= 4),
        ),
        commands=("POST /api/v1/runs", "ssh -S MASTER 127.0.0.1 true"),
        notes=(
            "The clock stops when the row of the task, read from the hub's database by another process, has its end.",
            "A spoke keeps its lines and results on disk, and so does the hub; ssh and the bare exchange keep nothing.",
        ),
    )


def _breakdown(rounds: int) -> Table:
    """A hub and a spoke whose steps write down when they happen; slower by the writing."""
    with tempfile.TemporaryDirectory(prefix="manyarm-trace-") as folder:
        trace = Path(folder) / "trace"
        with running_hub(PYTHONPATH=str(_TRACING), BENCH_TRACE=str(trace)) as stage:
            return _traced(stage, trace, rounds)


def _traced(stage: Stage, trace: Path, rounds: int) -> Table:
    stage.add_spoke("warm")
    windows = []
    for number in range(_WARM_UP + rounds):
        time.sleep(_PAUSE_S)
        began = time.time_ns()
        task = stage.api.run(_SCRIPT, "warm")
        stage.rows.until_ended(task)
        ended = time.time_ns()
        (cid,) = stage.rows.one("SELECT id FROM job WHERE task_id = ?", task) or ("",)
        if number >= _WARM_UP:
            windows.append(Window(began, ended, stage.whole.spoke_home("warm") / "jobs" / cid / "outcome.json"))
    parts = breakdown(trace, windows)
    total = Figure("together", sum(part.value for part in parts), "ms")
    return Table(
        name="roundtrip-breakdown",
        title="1b What each millisecond of the round trip is (supervisor standing by; medians of each part)",
        figures=(*parts, total),
        notes=("The supervisor tells whole milliseconds, so its three rows are good to one.",),
    )

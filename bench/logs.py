"""Bench 3: 100,000 lines from a script into the hub's database, live, against `cat` through a pipe."""

import subprocess
import time
from bisect import bisect_right
from pathlib import Path

from bench.figures import Figure, Table, Verdict, median, p95, timed
from bench.stage import Stage, resident_mb, running_hub

_LINES = 100_000
_WIDTH = 80
_RESIDENT_MB = 150
# Prints steadily and writes down when: each batch's first line is `<lines before it>` at the time of that note.
_STEADY = """\
import sys, time
notes = open({notes!r}, "w")
began = time.monotonic()
for batch in range({batches}):
    print(*[f"{{batch * 1000 + at:08}} " + "x" * {rest} for at in range(1000)], sep="\\n", flush=True)
    notes.write(f"{{(batch + 1) * 1000}} {{time.time()}}\\n")
    time.sleep(max(0, began + (batch + 1) / 120 - time.monotonic()))
"""


def logs(*, quick: bool) -> list[Table]:
    """As fast as it goes; then at a steady 120,000 lines a second, to see how far behind the database is."""
    rounds = 1 if quick else 9
    with running_hub() as stage:
        stage.add_spoke("web-1")
        text = stage.folder / "lines.txt"
        text.write_text("".join(f"{number:08} {'x' * (_WIDTH - 10)}\n" for number in range(_LINES)))
        stage.run_to_the_end("true", "web-1")
        piped, times = [], []
        for _ in range(rounds):
            time.sleep(0.3)
            piped.append(_through_a_pipe(text))
            times.append(_into_the_database(stage, text))
        lags = [lag for _ in range(max(1, rounds // 3)) for lag in _lags(stage)]
        resident = _resident(stage)
    return [_table(piped, times, lags, resident)]


def _through_a_pipe(text: Path) -> float:
    started = time.perf_counter()
    with subprocess.Popen(["cat", str(text)], stdout=subprocess.PIPE) as cat:
        assert cat.stdout is not None
        lines = 0
        while data := cat.stdout.read(1 << 16):
            lines += data.count(b"\n")
    assert lines == _LINES
    return time.perf_counter() - started


def _into_the_database(stage: Stage, text: Path) -> float:
    """From the request to the commit with the last line."""
    started = time.perf_counter()
    task = stage.api.run(f"cat {text}", "web-1")
    query = "SELECT 1 FROM task WHERE id = ? AND log_lines >= ?"
    stage.rows.until(lambda: stage.rows.one(query, task, _LINES), "the last line is in the database")
    took = time.perf_counter() - started
    stage.rows.until_ended(task)
    return took


def _lags(stage: Stage) -> list[float]:
    """For each batch of 1,000 lines: seconds from the moment it was printed to the commit that holds it."""
    notes = stage.folder / "printed.txt"
    script = _STEADY.format(notes=str(notes), batches=_LINES // 1000, rest=_WIDTH - 10)
    time.sleep(0.3)
    body = {"script": script, "shell": "python", "targets": ["web-1"]}
    task = str(stage.api.post("/runs", body)["task"])
    seen: list[tuple[int, float]] = []

    def all_in() -> bool:
        (lines,) = stage.rows.one("SELECT log_lines FROM task WHERE id = ?", task) or (0,)
        if not seen or lines > seen[-1][0]:
            seen.append((lines, time.time()))
        return bool(lines >= _LINES)

    stage.rows.until(all_in, "every line is in the database")
    stage.rows.until_ended(task)
    counts, moments = [lines for lines, _ in seen], [at for _, at in seen]
    printed = [(int(lines), float(at)) for lines, at in map(str.split, notes.read_text().splitlines())]
    return [moments[bisect_right(counts, lines - 1)] - at for lines, at in printed]


def _resident(stage: Stage) -> dict[str, tuple[float, float]]:
    spoke = stage.whole._spokes["web-1"].pid  # noqa: SLF001  The stage's own process.
    return {"hub engine": resident_mb(stage.whole.part("hub")), "spoke": resident_mb(spoke)}


def _table(
    piped: list[float], times: list[float], lags: list[float], resident: dict[str, tuple[float, float]]
) -> Table:
    rate = _LINES / median(times)
    most = max(peak for _, peak in resident.values())
    return Table(
        name="logs",
        title=f"3  {_LINES:,} lines of {_WIDTH} bytes, from a script to the database",
        figures=(
            timed("cat through a pipe", piped),
            timed("Manyarm, from the request to the last line's commit", times, {"cat": piped}),
            Figure("lines a second into the database", rate, "/s"),
            timed("at 120,000 lines a second: printed to committed", lags),
            *(Figure(f"{name} resident, at its most", peak, "MB") for name, (_, peak) in resident.items()),
        ),
        verdicts=(
            Verdict("at least 100,000 lines a second", f"{rate:,.0f} a second", rate >= 100_000),
            Verdict("live while it runs", f"{p95(lags) * 1e3:,.0f} ms behind the script at most, p95", p95(lags) < 1),
            Verdict(f"each under {_RESIDENT_MB} MB resident", f"{most:.0f} MB", most < _RESIDENT_MB),
        ),
        commands=("POST /api/v1/runs: cat LINES", "cat LINES | count"),
        notes=(
            "Each line is on the spoke's disk, masked, chained, signed, sealed and in the database; cat keeps none.",
        ),
    )

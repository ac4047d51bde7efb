"""Where a round trip spends its milliseconds: the notes of bench/tracing, run by run, put in order."""

import json
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Figure, median, p95

# The road of one job, in order. A label that comes more than once in a run counts the first time, or the last (-1).
ROAD: tuple[tuple[str, str, int], ...] = (
    ("api asks", "request read, caller known", 0),
    ("intent row committed", "intent sealed, its row committed", 0),
    ("engine has the intent", "intent over the broker", 0),
    ("task and outbox committed", "engine: who asks, plan, task, outbox, audit event in one commit", 0),
    ("outbox reads", "the outbox read, in the same thread", 0),
    ("command sealed", "command signed and sealed", 0),
    ("issue noted", "its issue committed", 0),
    ("spoke has the command", "command over the broker", 0),
    ("command opened", "spoke: signature, session, opened", 0),
    ("journaled", "journal: accepted and starting, one fsync", 0),
    ("job folder laid out", "runner checked, job folder laid out", 0),
    ("supervisor told to go", "job handed to the supervisor", 0),
    ("script started", "supervisor takes its job", 0),
    ("script ended", "worker, script, its end; log synced", 0),
    ("end noticed", "outcome written (fsync) and noticed by the spoke", 0),
    ("result published", "result signed, sealed, handed to the broker", 0),
    ("results opened", "result and last log over the broker, opened", -1),
    ("results committed", "log and result committed: the job has its exit code", -1),
)


@dataclass(frozen=True, slots=True)
class Window:
    """One run: from the request to the row that says how it ended, in UTC ns."""

    began: int
    ended: int
    outcome: Path


def breakdown(trace: Path, windows: Sequence[Window]) -> list[Figure]:
    """Median and 95th percentile of each part of the road, in milliseconds."""
    notes = [(int(at), label) for at, label in (line.split(" ", 1) for line in trace.read_text().splitlines())]
    notes.sort()
    spent: dict[str, list[float]] = {}
    for window in windows:
        previous = window.began
        for at, part in _road(notes, window):
            spent.setdefault(part, []).append(max(0, at - previous) / 1e6)
            previous = max(previous, at)
        spent.setdefault("seen by the bench in the row", []).append(max(0, window.ended - previous) / 1e6)
    return [Figure(part, median(found), "ms", p95(found), len(found)) for part, found in spent.items()]


def _road(notes: list[tuple[int, str]], window: Window) -> list[tuple[int, str]]:
    first = bisect_left(notes, (window.began, ""))
    last = bisect_left(notes, (window.ended, ""))
    seen: dict[str, list[int]] = {}
    for at, label in notes[first:last]:
        seen.setdefault(label, []).append(at)
    outcome = json.loads(window.outcome.read_text())
    # The supervisor tells whole milliseconds; both ends are cut alike.
    seen["script started"], seen["script ended"] = ([outcome[name] * 1_000_000] for name in ("started_at", "ended_at"))
    if "log committed" in seen:
        # A result that is ahead of its log is counted together with it.
        seen.setdefault("results committed", []).append(seen["log committed"][-1])
        seen.setdefault("results opened", []).append(seen["hub has the log"][-1])
        for label in ("results opened", "results committed"):
            seen[label].sort()
    return [(seen[label][which], part) for label, part, which in ROAD if seen.get(label)]

"""The breakdown puts the notes of one run in order and loses no time between them."""

import json

from bench.breakdown import ROAD, Window, breakdown

MS = 1_000_000


def outcome(folder, started_ms, ended_ms):
    path = folder / "outcome.json"
    path.write_text(json.dumps({"started_at": started_ms, "ended_at": ended_ms}))
    return path


def test_parts_add_up_to_the_whole_run(tmp_path):
    trace = tmp_path / "trace"
    labels = [label for label, _, _ in ROAD]
    at = {label: (1_000 + 2 * number) * MS for number, label in enumerate(labels)}
    lines = [f"{at[label]} {label}" for label in labels if not label.startswith("script")]
    trace.write_text("\n".join(reversed(lines)) + "\n")
    window = Window(998 * MS, (1_000 + 2 * len(labels)) * MS, outcome(tmp_path, *_script(at)))
    parts = breakdown(trace, [window])
    assert [part.name for part in parts[:-1]] == [part for _, part, _ in ROAD]
    assert {part.value for part in parts} == {2}
    assert sum(part.value for part in parts) == (window.ended - window.began) / MS


def test_a_result_that_waited_for_its_log_counts_with_it(tmp_path):
    trace = tmp_path / "trace"
    notes = [
        (1, "api asks"),
        (5, "results opened"),
        (6, "results committed"),
        (8, "hub has the log"),
        (9, "log committed"),
    ]
    trace.write_text("".join(f"{at * MS} {label}\n" for at, label in notes))
    parts = breakdown(trace, [Window(0, 10 * MS, outcome(tmp_path, 2, 4))])
    assert {part.name: part.value for part in parts}["log and result committed: the job has its exit code"] == 1
    assert sum(part.value for part in parts) == 10


def test_what_other_runs_noted_is_left_out(tmp_path):
    trace = tmp_path / "trace"
    trace.write_text(f"{1 * MS} api asks\n{50 * MS} api asks\n")
    parts = breakdown(trace, [Window(40 * MS, 60 * MS, outcome(tmp_path, 51, 52))])
    assert next(part.value for part in parts) == 10


def _script(at):
    return at["script started"] // MS, at["script ended"] // MS

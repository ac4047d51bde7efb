"""The journal of deployments: whole lines whoever writes, bounded, and readable whatever a crash left."""

import json
import multiprocessing

import pytest

from runner.journal import entries, record


def entry(number, **more):
    return {"job": f"job-{number}", "state": "succeeded", "path": f"/nowhere/{number}", **more}


def test_the_last_entry_of_a_job_counts_and_order_is_that_of_the_last(tmp_path):
    for line in (entry(1, state="begun"), entry(2, state="begun"), entry(2), entry(1, state="failed")):
        record(tmp_path, line)
    assert [(e["job"], e["state"]) for e in entries(tmp_path)] == [("job-2", "succeeded"), ("job-1", "failed")]
    assert entries(tmp_path / "none") == []


def test_entries_of_before_are_still_read(tmp_path):
    old = {"at": 1, "job": "a", "release": "1.0.0", "step": "Web", "path": "/x", "succeeded": True}
    (tmp_path / "deployments.jsonl").write_text(json.dumps(old) + "\n")
    record(tmp_path, entry(1))
    assert entries(tmp_path) == [old, entry(1)]


@pytest.mark.parametrize("left", ['{"job": "cut', "", "\x00\x00", '{"job": "cut", "a": 1}\n[]\n"x"\n{"b', "\n\n"])
def test_a_line_that_a_crash_cut_short_costs_that_line_alone(tmp_path, left):
    record(tmp_path, entry(1))
    with (tmp_path / "deployments.jsonl").open("a") as stream:
        stream.write(left)
    record(tmp_path, entry(2))
    assert [e["job"] for e in entries(tmp_path) if e["job"].startswith("job")] == ["job-1", "job-2"]


def test_it_is_made_shorter_and_keeps_the_newest_and_what_is_still_there(tmp_path):
    (tmp_path / "there").mkdir()
    record(tmp_path, entry("old", path=str(tmp_path / "there")))
    record(tmp_path, entry("older word", path=str(tmp_path / "there")))
    for number in range(200):
        record(tmp_path, entry(number), max_bytes=5000)
        assert (tmp_path / "deployments.jsonl").stat().st_size <= 5000
    found = [e["job"] for e in entries(tmp_path)]
    assert found[0] == "job-older word"
    assert found[-1] == "job-199"
    assert 20 < len(found) < 70
    assert found[1:] == [f"job-{number}" for number in range(201 - len(found), 200)]


def _write(home, writer):
    for number in range(60):
        record(home, entry(f"{writer}-{number}", padding="x" * 300), max_bytes=40_000)


def test_many_writers_lose_no_line_and_mix_none(tmp_path):
    writers = [multiprocessing.get_context("fork").Process(target=_write, args=(tmp_path, n)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    lines = (tmp_path / "deployments.jsonl").read_bytes().splitlines()
    assert all(json.loads(line)["padding"] == "x" * 300 for line in lines)
    newest = {}
    for found in entries(tmp_path):
        _, writer, number = found["job"].split("-")
        assert newest.get(writer, -1) < int(number)
        newest[writer] = int(number)
    assert set(newest.values()) == {59}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deployments.jsonl", "deployments.lock"]

"""A start without a supervisor standing by: what it imports is what it takes."""

import sys

from runner import build, start_time

# Each costs a start more than all that the runner does for an empty job.
TOO_DEAR = {
    "ast", "datetime", "difflib", "html", "inspect", "logging", "pkgutil", "ruamel", "shlex", "shutil", "tempfile", "tokenize",
    "traceback",
}  # fmt: skip


def test_an_empty_job_imports_nothing_that_it_does_not_need(rig):
    rig.command[1:1] = ["-X", "importtime"]
    run = rig.script("true")
    assert run.outcome["state"] == "succeeded", run.outcome
    # The supervisor tells it on its own standard error; its worker's is the job's.
    told = run.err.read_text() + run.err_text
    imported = {line.rpartition("|")[2].strip() for line in told.splitlines() if line.startswith("import time:")}
    assert {"runner.supervisor", "runner.work", "runner.conventions.run_typed_script"} <= imported
    assert not {name for name in imported if name.partition(".")[0] in TOO_DEAR}


def test_the_build_prints_its_size_and_what_a_start_takes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(start_time, "ROUNDS", 1)
    assert build.main([str(tmp_path / "runner.pyz")]) == 0
    printed = capsys.readouterr().out
    assert f"{(tmp_path / 'runner.pyz').stat().st_size:,} bytes" in printed
    assert [line.split(" ms  ")[1][:12] for line in printed.splitlines()[1:5]] == [
        "python3 -I -", "an empty job", "the same fro", "allowed (1.5",
    ]  # fmt: skip
    assert build.main([]) == 2


def test_what_is_allowed_is_told_beside_what_was_measured(built):
    taken = start_time.StartTime(0.010, 0.044, 0.080, rounds=3)
    assert taken.allowed_s == 0.045
    assert str(taken).count("met") == 1
    assert "MISSED" in str(start_time.StartTime(0.010, 0.046, 0.080, rounds=3))
    assert start_time.measured(built.path, sys.executable, rounds=1).job_s > 0

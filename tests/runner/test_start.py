"""A start without a supervisor standing by: what it imports is what it takes."""

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

"""What scripts can do, in each language."""

import json
import os
import stat

import pytest

from runner.contract.spool import Stream

TRICKY = "a \"quoted\" 'value' $(id) `id` \\n \\ % # ! ä€😀\n\tline two\r\nlast\x01\x1f\x7f & *"


def test_a_bash_script_runs_and_its_lines_and_exit_code_are_kept(any_rig):
    run = any_rig.script("echo hello; echo oops >&2; exit 0")
    assert run.outcome["state"] == "succeeded", run.outcome
    assert run.outcome["exit_code"] == 0
    assert run.out == "hello\n"
    assert run.err_text == "oops\n"
    spool = run.outcome["spool"]
    assert spool == {
        "records": len(run.records),
        "chain": run.records[-1].chain.hex(),
        "bytes": (run.folder / "output").stat().st_size,
    }


def test_a_python_script_runs_and_speaks_to_the_supervisor(any_rig):
    run = any_rig.script(
        "import manyarm\nprint(manyarm.get_variable('Name'))\nmanyarm.set_variable('Got', 'x' * 3)\nmanyarm.progress(50, 'half')\nmanyarm.warn('careful')",
        shell="python",
        variables={"Name": "value"},
    )
    assert run.outcome["state"] == "succeeded", (run.outcome, run.text())
    assert run.out == "value\n"
    assert run.outcome["outputs"] == [{"name": "Got", "value": "xxx", "secret": False}]
    assert {"event": "progress", "percent": 50, "message": "half"} in run.events
    assert "careful\n" in run.text(Stream.WARNING)


def test_bash_functions_work_under_strict_settings(any_rig):
    run = any_rig.script(
        """set -euo pipefail
test "$(get_variable Greeting)" = "Hello from Production"
set_variable Url "http://$(get_variable Host)/"
set_variable Token abcdefgh --secret
progress 08 "going on"
warn "careful now"
echo content > report.txt
new_artifact report.txt
new_artifact "$PWD/report.txt" renamed.txt
echo done
""",
        variables={
            "Greeting": "Hello from #{Manyarm.Environment.Name}",
            "Manyarm.Environment.Name": "Production",
            "Host": "web",
        },
    )
    outcome = run.outcome
    assert outcome["state"] == "succeeded", (outcome, run.text())
    assert outcome["outputs"] == [
        {"name": "Url", "value": "http://web/", "secret": False},
        {"name": "Token", "value": "abcdefgh", "secret": True},
    ]
    assert [(a["name"], a["size"]) for a in outcome["artifacts"]] == [("report.txt", 8), ("renamed.txt", 8)]
    assert all(os.path.isabs(a["path"]) and os.path.getsize(a["path"]) == 8 for a in outcome["artifacts"])
    assert {"event": "progress", "percent": 8, "message": "going on"} in run.events
    assert run.text(Stream.WARNING) == "careful now\n"


@pytest.mark.parametrize("shell", ["bash", "python"])
def test_any_value_goes_in_and_comes_out_unchanged(rig, shell):
    script = {
        "bash": 'v=$(get_variable Tricky; printf x); set_variable Out "${v%x}"',
        "python": "import manyarm; manyarm.set_variable('Out', manyarm.get_variable('Tricky'))",
    }[shell]
    run = rig.script(script, shell=shell, variables={"Tricky": TRICKY})
    assert run.outcome["outputs"] == [{"name": "Out", "value": TRICKY, "secret": False}], run.text()


def test_a_value_of_64_kib_is_taken_and_a_larger_one_is_refused(rig):
    run = rig.script(
        'v=$(get_variable Big); set_variable A "$v"; set_variable B "${v}x" || echo "refused $?"',
        variables={"Big": "€" + "y" * (64 * 1024 - 3)},
    )
    assert [o["name"] for o in run.outcome["outputs"]] == ["A"], run.text()
    assert len(run.outcome["outputs"][0]["value"].encode()) == 64 * 1024
    assert "refused 1" in run.out
    assert "at most 65536 bytes" in run.err_text


def test_an_unknown_variable_fails_a_strict_script_with_a_sentence(rig):
    run = rig.script("set -e\nx=$(get_variable Nothing)\necho never")
    assert run.outcome["state"] == "failed"
    assert "no variable is named 'Nothing'" in run.err_text
    assert "never" not in run.out


def test_fail_ends_the_script_with_its_message(any_rig):
    for shell, script in (
        ("bash", "fail 'the database is gone'; echo never"),
        ("python", "import manyarm; manyarm.fail('the database is gone')"),
    ):
        run = any_rig.script(script, shell=shell)
        assert run.outcome["state"] == "failed"
        assert run.outcome["message"] == "the database is gone"
        assert run.outcome["exit_code"] == 1
        assert "never" not in run.out


def test_the_exit_code_of_a_script_is_the_jobs(rig):
    run = rig.script("exit 7")
    assert (run.outcome["state"], run.outcome["exit_code"]) == ("failed", 7)
    assert "exit code 7" in run.outcome["message"]


def test_a_script_ended_by_a_signal_is_told_by_its_name(rig):
    run = rig.script("kill -SEGV $$")
    assert (run.outcome["state"], run.outcome["exit_code"]) == ("failed", 139)
    assert "SIGSEGV" in run.outcome["message"]


def test_questions_from_parallel_subshells_get_their_own_answers(rig):
    script = """
for i in 1 2 3 4 5 6 7 8; do
  ( for j in 1 2 3 4 5; do [ "$(get_variable V$i)" = "value-$i" ] || echo "wrong $i"; done ) &
done
wait
python3 -c "import os; print('fd', 'MANYARM_FD' in os.environ)"
"""
    run = rig.script(script, variables={f"V{i}": f"value-{i}" for i in range(1, 9)})
    assert run.out == "fd True\n", run.text()


def test_the_environment_of_a_script_is_clean_and_shows_only_what_is_exposed(rig):
    rig.environment = {"LD_PRELOAD_X": "1", "SPOKE_THING": "here"}
    run = rig.script("env | sort", variables={"Api.Url": "http://x", "Hidden": "not-shown"}, expose_env=["Api.Url"])
    assert "Api_Url=http://x\n" in run.out
    assert "SPOKE_THING" not in run.out
    assert "not-shown" not in run.out


def test_a_script_has_an_empty_private_folder_and_no_standard_input(rig):
    run = rig.script('stat -c %a .; ls; cat; stat -c %a .manyarm/*script.sh; echo "$0"')
    lines = run.out.splitlines()
    assert lines[:2] == ["700", "600"], run.text()
    assert run.folder.name in lines[2]


def test_a_last_line_without_its_end_is_kept_whole(rig):
    run = rig.script("printf 'no end'")
    assert run.out == "no end"


def test_what_a_target_set_is_never_expanded(rig):
    hostile = "#{Secret} $(id) {{ config }} ${jndi:ldap} %(x)s"
    run = rig.script(
        'v=$(get_variable "Manyarm.Step[Earlier].Output.Value"); set_variable Out "$v"; set_variable Ref "$(get_variable Uses)"',
        variables={"Manyarm.Step[Earlier].Output.Value": hostile, "Uses": "<#{Manyarm.Step[Earlier].Output.Value}>"},
        secrets={"Secret": "never-to-be-seen"},
    )
    assert [o["value"] for o in run.outcome["outputs"]] == [hostile, f"<{hostile}>"]


def test_an_unknown_kind_of_step_and_an_unknown_property_are_named(rig):
    run = rig.run(rig.job("make-coffee"))
    assert "no step kind is called 'make-coffee'" in run.outcome["message"]
    assert "this runner knows cloud-script, deploy-package, " in run.outcome["message"]
    run = rig.run(rig.job(properties={"script": "true", "shel": "bash"}))
    assert "properties.shel" in run.outcome["message"]
    run = rig.run(rig.job(properties={}))
    assert "properties.script" in run.outcome["message"]


def test_a_broken_job_json_ends_in_a_clear_outcome(rig):
    folder = rig.folder(rig.job())
    body = json.loads((folder / "job.json").read_text())
    del body["job"]["target"]
    (folder / "job.json").write_text(json.dumps(body))
    run = rig.begin(folder, b'{"secrets":{},"go":true}\n')
    assert run.wait()["message"] == "job field 'target': is missing"


def test_every_file_of_the_job_folder_is_private(rig):
    run = rig.script("echo x > report; new_artifact report")
    for path in [run.folder, *run.folder.rglob("*")]:
        if "report" not in path.name and path.name not in {"job.json", "supervisor.err"}:
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path

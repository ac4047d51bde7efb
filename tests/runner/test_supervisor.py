"""The supervisor's promises: at most once, alive without its spoke, every process ended, nothing lost quietly."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from runner.contract.spool import Kind, Stream, read_records
from runner.process_tree import descendants

DAEMON = """
import os, signal, sys, time
for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(n, signal.SIG_IGN)
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
open('stray.pid', 'w').write(str(os.getpid()))
time.sleep(600)
"""
STRAY = f"""
python3 -c "{DAEMON}" &
while [ ! -s stray.pid ]; do sleep 0.01; done
echo ready
sleep 600
"""


def is_alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def until(true, timeout_s=20):
    ends = time.monotonic() + timeout_s
    while not (found := true()):
        assert time.monotonic() < ends
        time.sleep(0.01)
    return found


def test_the_supervisor_says_who_it_is_before_anything_runs(rig):
    run = rig.start_script("echo ready; sleep 60")
    run.until("ready")
    said = json.loads((run.folder / "supervisor").read_text())
    fields = Path(f"/proc/{run.process.pid}/stat").read_text().rpartition(")")[2].split()
    assert said == {
        "pid": run.process.pid,
        "start_time": int(fields[19]),
        "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
    }
    (run.folder / "cancel").write_text("{}")
    run.wait()


def test_a_folder_is_supervised_at_most_once(rig):
    run = rig.script("echo once >> ../../../witness")
    again = subprocess.run(
        [*rig.command, "supervise", str(run.folder)],
        input=b'{"secrets":{},"go":true}\n',
        capture_output=True,
        env=rig.environ(),
    )
    assert again.returncode == 4
    assert b"at most once" in again.stderr
    assert (rig.home / "witness").read_text() == "once\n"


def test_without_a_go_nothing_runs_and_the_outcome_says_so(rig):
    for line in (b"", b'{"secrets":{},"go":false}\n', b'{"secrets":{},"go":true'):
        folder = rig.folder(rig.job(properties={"script": "echo > ../../../witness"}))
        run = rig.begin(folder, line)
        run.wait()
        assert run.outcome["state"] == "failed"
        assert "nothing was run" in run.outcome["message"]
    assert not (rig.home / "witness").exists()


def test_a_standby_becomes_the_one_job_that_comes(any_rig):
    folder = any_rig.folder(any_rig.job(properties={"script": "get_variable S"}, secret_names=["S"]))
    line = json.dumps({"folder": str(folder), "secrets": {"S": "xyz"}, "go": True}).encode() + b"\n"
    run = any_rig.begin(folder, line, ["standby"])
    assert run.wait()["state"] == "succeeded"
    assert run.out == "xyz"


def test_a_standby_without_a_job_ends_quietly(rig):
    ended = subprocess.run([*rig.command, "standby"], input=b"", capture_output=True, env=rig.environ())
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")


def test_a_standby_that_is_killed_leaves_no_worker_behind(rig):
    standby = subprocess.Popen([*rig.command, "standby"], stdin=subprocess.PIPE, env=rig.environ())
    worker = until(lambda: [process.pid for process in descendants(standby.pid)])[0]
    standby.kill()
    standby.wait()
    until(lambda: not is_alive(worker))
    standby.stdin.close()


def test_the_end_of_whoever_started_it_does_not_touch_a_job(rig):
    folder = rig.folder(rig.job(properties={"script": "echo begin; sleep 1; echo end"}))
    spoke = (
        "import subprocess, sys\n"
        f"p = subprocess.Popen({[*rig.command, 'supervise', str(folder)]!r}, stdin=subprocess.PIPE, start_new_session=True)\n"
        'p.stdin.write(b\'{"secrets":{},"go":true}\\n\'); p.stdin.close()\n'
        "print('up', flush=True); import time; time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", spoke], stdout=subprocess.PIPE, env=rig.environ(), start_new_session=True
    )
    assert parent.stdout.readline() == b"up\n"
    os.killpg(parent.pid, signal.SIGTERM)
    parent.wait()
    deadline = time.monotonic() + 20
    while not (folder / "outcome.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert json.loads((folder / "outcome.json").read_text())["state"] == "succeeded"
    records = read_records((folder / "output").read_bytes())
    assert b"".join(r.content for r in records if r.stream is Stream.STDOUT) == b"begin\nend\n"


def test_a_cancel_ends_the_whole_tree_and_says_so(any_rig):
    run = any_rig.start_script(STRAY)
    run.until("ready")
    stray = int((run.folder / "work/stray.pid").read_text())
    assert is_alive(stray)
    (run.folder / "cancel").write_text('{"reason":"wrong release"}')
    outcome = run.wait()
    assert outcome["state"] == "cancelled"
    assert outcome["message"] == "cancelled: wrong release"
    assert outcome["cancel_confirmed"] is True
    assert outcome["survivors"] == []
    assert outcome["ended_processes"] >= 3
    assert not is_alive(stray)


def test_a_process_that_heeds_term_gets_its_grace(rig):
    run = rig.start_script(
        "trap 'echo cleaning up; sleep 0.3; echo clean; exit 0' TERM\necho ready\nwhile :; do sleep 0.05; done",
        grace_s=10,
    )
    run.until("ready")
    (run.folder / "cancel").write_text("{}")
    outcome = run.wait()
    assert outcome["state"] == "cancelled"
    assert "cleaning up\n" in run.out


def test_a_job_that_takes_too_long_is_ended_with_all_it_started(rig):
    run = rig.start_script(STRAY, limits={"wall_s": 1})
    outcome = run.wait()
    assert outcome["state"] == "timed-out"
    assert outcome["cancel_confirmed"] is None
    assert "1 seconds" in outcome["message"]
    assert not is_alive(int((run.folder / "work/stray.pid").read_text()))


def test_a_job_that_uses_too_much_processor_is_ended(rig):
    outcome = rig.script("while :; do :; done", limits={"cpu_s": 1}).outcome
    assert outcome["state"] == "timed-out"
    assert "processor" in outcome["message"]


def test_a_process_left_running_on_purpose_goes_on_after_success(rig):
    run = rig.script("nohup sleep 30 >/dev/null 2>&1 & echo $! > daemon.pid")
    assert run.outcome["state"] == "succeeded"
    pid = int((run.folder / "work/daemon.pid").read_text())
    assert is_alive(pid)
    os.kill(pid, signal.SIGKILL)
    assert "1 processes that the job started go on" in run.text(Stream.VERBOSE)


def test_a_process_that_keeps_the_output_open_does_not_keep_the_job(rig):
    run = rig.script("sleep 30 & echo $! > daemon.pid; echo done")
    assert run.outcome["state"] == "succeeded"
    assert run.out == "done\n"
    os.kill(int((run.folder / "work/daemon.pid").read_text()), signal.SIGKILL)


def test_a_killed_worker_is_told_as_such_and_never_as_success(rig):
    run = rig.start_script("echo $$ > script.pid; echo ready; sleep 60")
    run.until("ready")
    worker = next(e["pid"] for e in run.events if e["event"] == "started")
    os.kill(worker, signal.SIGKILL)
    outcome = run.wait()
    assert outcome["state"] == "failed"
    assert "worker was ended by SIGKILL" in outcome["message"]
    assert not is_alive(int((run.folder / "work/script.pid").read_text()))


def test_term_to_the_supervisor_itself_ends_its_tree_and_is_told(rig):
    run = rig.start_script("echo ready; sleep 60")
    run.until("ready")
    os.kill(run.process.pid, signal.SIGTERM)
    outcome = run.wait()
    assert outcome["state"] == "failed"
    assert "SIGTERM" in outcome["message"]
    assert outcome["ended_processes"] >= 2


def test_output_past_its_cap_is_dropped_with_a_line_that_says_so(rig):
    run = rig.script(
        "for i in {1..20000}; do echo line $i; done; echo end; set_variable Done yes", limits={"out_bytes": 5000}
    )
    assert run.outcome["state"] == "succeeded"
    assert len(run.out) <= 5000
    assert run.out.endswith("\n")
    assert "output truncated at 5000 bytes" in run.text(Stream.WARNING)
    assert {"event": "truncated", "bytes": 5000} in run.events
    assert run.outcome["outputs"][0]["name"] == "Done"


def test_artifacts_are_collected_from_a_script_that_failed_and_from_none_that_was_ended(rig):
    script = "echo something > report.txt; new_artifact report.txt;"
    (artifact,) = rig.script(f"{script} exit 3").outcome["artifacts"]
    assert artifact["name"] == "report.txt"
    run = rig.start_script(f"{script} echo ready; sleep 60")
    run.until("ready")
    (run.folder / "cancel").write_text('{"reason": "asked to"}')
    outcome = run.wait()
    assert (outcome["state"], outcome["artifacts"]) == ("cancelled", [])


def test_refused_service_lines_count_as_output(rig):
    line = "##manyarm[$MANYARM_TOKEN] no message"
    run = rig.script(f'for i in {{1..20000}}; do echo "{line}"; done', limits={"out_bytes": 5000})
    assert run.outcome["state"] == "succeeded"
    assert (run.folder / "output").stat().st_size < 20_000
    assert {"event": "truncated", "bytes": 5000} in run.events


def test_outputs_that_no_result_could_carry_are_refused_to_the_script(rig):
    script = "import manyarm\nfor i in range(30):\n    manyarm.set_variable(f'Big{i}', 'x' * 60_000)"
    run = rig.script(script, shell="python")
    assert run.outcome["state"] == "failed"
    assert "outputs of a step have at most" in run.text()
    assert len(run.outcome["outputs"]) == 8
    again = rig.script("for i in {1..300}; do set_variable Same one; done")
    assert [output["value"] for output in again.outcome["outputs"]] == ["one"]


def test_no_record_is_larger_than_the_contract_says(rig):
    run = rig.script("head -c 3000000 /dev/zero | tr '\\0' x; echo; for i in {1..3000}; do echo $i; done")
    assert len(run.out) == 3000001 + len("".join(f"{i}\n" for i in range(1, 3001)))
    assert all(r.size <= 64 * 1024 + 40 for r in run.records)


def test_a_hundred_thousand_lines_come_whole_in_few_records(rig):
    run = rig.script(
        "import sys\nsys.stdout.write(''.join(f'line number {i}\\n' for i in range(100000)))", shell="python"
    )
    assert run.out == "".join(f"line number {i}\n" for i in range(100000))
    assert len([r for r in run.records if r.kind is Kind.TEXT]) < 500


def test_a_line_is_in_the_spool_while_its_script_runs(rig):
    run = rig.start_script("echo first; sleep 60")
    run.until("first\n")
    (run.folder / "cancel").write_text("{}")
    run.wait()


def test_the_isolation_lock_lets_one_job_in_at_a_time(rig):
    first = rig.start_script(
        "echo ready; while [ ! -e ../../../go ]; do sleep 0.02; done; echo one >> ../../../order", isolation="web"
    )
    first.until("ready")
    second = rig.start_script("echo two >> ../../../order", isolation="web")
    second.until("waiting for the isolation lock 'web'")
    assert f"held by job {first.folder.name}" in second.text()
    (rig.home / "go").touch()
    assert first.wait()["state"] == second.wait()["state"] == "succeeded"
    assert (rig.home / "order").read_text() == "one\ntwo\n"


def test_a_job_that_waits_for_its_lock_can_be_cancelled_and_gives_up_in_time(rig):
    first = rig.start_script("echo ready; sleep 60", isolation="web")
    first.until("ready")
    waiting = rig.start_script("echo never", isolation="web")
    waiting.until("waiting for")
    (waiting.folder / "cancel").write_text("{}")
    assert waiting.wait()["state"] == "cancelled"
    late = rig.start_script("echo never", isolation="web", limits={"wall_s": 1})
    outcome = late.wait()
    assert outcome["state"] == "timed-out"
    assert "'web' was not free in time" in outcome["message"]
    (first.folder / "cancel").write_text("{}")
    first.wait()


def test_core_dumps_are_off(rig):
    assert rig.script("ulimit -c").out == "0\n"


def test_another_user_is_refused_and_not_ignored(rig):
    outcome = rig.script("id", run_as="somebody-else").outcome
    assert outcome["state"] == "failed"
    assert "somebody-else" in outcome["message"]


def tiny_disk(path):
    path.mkdir()
    return subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)], capture_output=True).returncode


def test_a_full_disk_ends_the_job_with_a_clear_outcome_and_a_whole_spool(rig, tmp_path):
    path = tmp_path / "disk"
    if tiny_disk(path):
        # Without the right to mount, a quota on the file's size stands in: the same write fails for another reason.
        rig.command = ["bash", "-c", 'ulimit -f 1024; exec "$@"', "bash", *rig.command]
    try:
        rig.home = path
        run = rig.script("cat /dev/zero | tr '\\0' '\\n'")
        assert run.outcome["state"] == "failed"
        assert "output cannot be written any more" in run.outcome["message"]
        assert run.outcome["spool"]["records"] == len(run.records)
        assert run.outcome["spool"]["bytes"] == (run.folder / "output").stat().st_size
    finally:
        subprocess.run(["umount", "-l", str(path)], capture_output=True)

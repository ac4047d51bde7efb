"""Scripts and surroundings that turn against the runner."""

import json
import sys

import pytest

from runner.contract.spool import Stream
from tests.runner.conftest import built, rig, unpacked  # noqa: F401  fixtures of the runner's own tests
from tests.runner.test_supervisor import STRAY, is_alive


def test_t110_nothing_around_the_runner_is_loaded_by_it(rig, tmp_path):  # noqa: F811  the fixture
    witness = tmp_path / "loaded"
    trap = f"open({str(witness)!r}, 'a').write(__name__ + chr(10))\n"
    site = tmp_path / "traps"
    site.mkdir()
    for name in ("json", "usercustomize", "sitecustomize", "socket", "runner"):
        (site / f"{name}.py").write_text(trap)
        (tmp_path / f"{name}.py").write_text(trap)
    (site / "evil.pth").write_text(f"import os; open({str(witness)!r}, 'a').write('pth')\n")
    startup = tmp_path / "startup.py"
    startup.write_text(trap)
    rig.environment = {
        "PYTHONPATH": str(site),
        "PYTHONSTARTUP": str(startup),
        "PYTHONUSERBASE": str(site),
        "PYTHONHOME": str(site),
    }
    run = rig.script("echo fine")
    assert run.out == "fine\n"
    assert not witness.exists(), witness.read_text()
    run = rig.script(
        "import os; print('PYTHONSTARTUP' in os.environ, os.environ['PYTHONPATH'].count(':'))", shell="python"
    )
    assert run.out == "False 0\n"


def test_t110_what_preloads_into_the_spoke_is_not_handed_to_scripts(rig):  # noqa: F811  the fixture
    rig.environment = {"LD_PRELOAD": "", "LD_LIBRARY_PATH": "/evil", "BASH_ENV": "/evil", "ENV": "/evil"}
    run = rig.script("env")
    assert "LD_" not in run.out
    assert "/evil" not in run.out


def test_t112_a_daemon_that_holds_the_output_and_ignores_term_is_ended_at_the_deadline(rig):  # noqa: F811  the fixture
    run = rig.start_script(STRAY.replace("-c", "-u -c", 1), limits={"wall_s": 1})
    outcome = run.wait()
    assert outcome["state"] == "timed-out"
    assert outcome["survivors"] == []
    assert outcome["ended_processes"] >= 3
    assert not is_alive(int((run.folder / "work/stray.pid").read_text()))


def test_t112_a_fork_bomb_of_sessions_is_ended_with_all_its_children(rig):  # noqa: F811  the fixture
    script = "for i in $(seq 40); do (setsid bash -c 'trap \"\" TERM; while :; do sleep 0.2; done' &) ; done; echo ready; sleep 60"
    run = rig.start_script(script, grace_s=0)
    run.until("ready")
    (run.folder / "cancel").write_text("{}")
    outcome = run.wait()
    assert outcome["cancel_confirmed"] is True
    assert outcome["ended_processes"] >= 40


def test_t114_service_messages_without_the_token_are_plain_text(rig):  # noqa: F811  the fixture
    body = json.dumps({"do": "set_variable", "name": "Stolen", "value": "x"})
    lines = [
        f"##manyarm[{'0' * 32}] {body}",
        f"##manyarm {body}",
        f"##manyarm[] {body}",
        "##octopus[setVariable name='U3RvbGVu' value='eA==']",
        f"::set-output name=Stolen::x {body}",
    ]
    run = rig.script(
        "\n".join(f"printf '%s\\n' '{line}'" for line in lines[:3])
        + f"\nprintf 'text before ##manyarm[%s] %s\\n' $MANYARM_TOKEN '{body}'"
    )
    assert run.outcome["outputs"] == []
    assert run.out.splitlines() == [*lines[:3], f"text before ##manyarm[***] {body}"]


def test_t114_a_service_line_with_the_token_is_taken_even_in_pieces(rig):  # noqa: F811  the fixture
    script = """import os, sys, time
line = '##manyarm[' + os.environ['MANYARM_TOKEN'] + '] {"do":"set_variable","name":"Mine","value":"good"}\\n'
sys.stdout.write('before\\n')
for c in line:
    sys.stdout.write(c); sys.stdout.flush()
sys.stdout.write('after\\n' + line.replace('Mine', 'Second') + line.replace('good', 'x' * 70000).replace('Mine', 'Big') + 'end\\n')
"""
    run = rig.script(script, shell="python")
    assert run.out == "before\nafter\nend\n"
    assert [o["name"] for o in run.outcome["outputs"]] == ["Mine", "Second"]
    assert "at most 65536 bytes" in run.text(Stream.WARNING)


def test_t114_a_message_that_continues_a_line_is_text_however_it_is_cut(rig):  # noqa: F811  the fixture
    script = """import os, sys, time
line = '##manyarm[' + os.environ['MANYARM_TOKEN'] + '] {"do":"set_variable","name":"Mine","value":"x"}\\n'
sys.stdout.write('text '); sys.stdout.flush(); time.sleep(0.2)
sys.stdout.write(line); sys.stdout.flush(); time.sleep(0.2)
sys.stdout.write('end\\n')
"""
    run = rig.script(script, shell="python")
    assert run.outcome["outputs"] == []
    assert run.out.splitlines() == ['text ##manyarm[***] {"do":"set_variable","name":"Mine","value":"x"}', "end"]


def test_t114_one_line_of_a_gigabyte_is_capped_in_little_memory(rig):  # noqa: F811  the fixture
    script = "head -c 1000000000 /dev/zero | tr '\\0' x; awk '/VmHWM/ {print \"peak\", $2}' /proc/$(awk '/^PPid/ {print $2}' /proc/$PPID/status)/status > peak"
    run = rig.script(script, limits={"out_bytes": 1_000_000})
    assert run.outcome["state"] == "succeeded"
    assert len(run.out) <= 1_000_000
    assert "output truncated at 1000000 bytes" in run.text(Stream.WARNING)
    assert int((run.folder / "work/peak").read_text().split()[1]) < 60_000


def test_t115_the_token_of_one_run_is_worth_nothing_in_another_and_is_masked(rig):  # noqa: F811  the fixture
    first = rig.script("printf %s $MANYARM_TOKEN > token; echo token $MANYARM_TOKEN")
    assert first.out == "token ***\n"
    token = (first.folder / "work/token").read_text()
    assert len(token) == 32
    run = rig.script(f"""printf '##manyarm[%s] {{"do":"set_variable","name":"A","value":"b"}}\\n' {token}""")
    assert run.outcome["outputs"] == []
    assert run.out.startswith("##manyarm[")


HOSTILE = [
    "{{ config }}",
    "#{Secret}",
    "$(id)",
    "`id`",
    "${jndi:ldap://x}",
    "%(x)s",
    "'; rm -rf / #",
    "\\u0000 \\n",
    "<script>",
    "a\nb",
    "€",
]


@pytest.mark.parametrize("value", HOSTILE, ids=ascii)
def test_t116_values_from_targets_are_data_for_ever(rig, value):  # noqa: F811  the fixture
    job = {
        "literals": {"Manyarm.Step[Other].Output.V": value},
        "variables": {"Uses": "<#{Manyarm.Step[Other].Output.V}>"},
    }
    python = 'import manyarm\nfor n in ("Manyarm.Step[Other].Output.V", "Uses"): manyarm.set_variable("Out" + n[-1], manyarm.get_variable(n))'
    run = rig.script(python, shell="python", secrets={"Secret": "never-to-be-seen"}, **job)
    assert [o["value"] for o in run.outcome["outputs"]] == [value, f"<{value}>"]
    bash = 'set -eu; v=$(get_variable "Manyarm.Step[Other].Output.V"; printf x); set_variable Out "${v%x}"; warn "$v"'
    run = rig.script(bash, secrets={"Secret": "never-to-be-seen"}, **job)
    assert [o["value"] for o in run.outcome["outputs"]] == [value]


def test_t116_messages_that_are_no_messages_are_refused_and_the_job_goes_on(rig):  # noqa: F811  the fixture
    script = """import os, struct
fd = int(os.environ['MANYARM_FD'])
def ask(data, size=None):
    os.write(fd, struct.pack('>I', len(data) if size is None else size) + data)
    (n,) = struct.unpack('>I', os.read(fd, 4)); return os.read(fd, n).decode()
for data in (b'', b'[]', b'{"do":"os.system"}', b'{"do":"get_variable"}', b'{"do":"get_variable","name":1}', b'\\xff\\xfe',
             b'{"do":"progress","percent":true}', b'{"do":"warn","message":"x","message":"y"}', b'[' * 9999, b'{"do":"__class__"}',
             b'{"do":"set_variable","name":"' + b'a' * 65 + b'","value":""}', b'{"do":"progress","percent":101}',
             b'{"do":"set_variable","name":"1bad","value":""}', b'{"do":"new_artifact","path":"/dev/zero"}', b'{"do":"warn","message":"x","more":1}'):
    assert '"error"' in ask(data), data
assert '"error"' in ask(b'', 2**31)
import manyarm
manyarm.set_variable('Still', 'here')
for i in range(2000):
    try: manyarm.warn('x')
    except manyarm.ManyarmError as error: print(i, error); break
"""
    run = rig.script(script, shell="python")
    assert run.outcome["state"] == "succeeded", (run.text(), sys.version)
    assert [o["name"] for o in run.outcome["outputs"]] == ["Still"]
    assert "a step may send 1000 service messages" in run.out


def test_a_script_that_reads_no_answers_does_not_block_its_supervisor(rig):  # noqa: F811  the fixture
    script = """import os, struct
fd = int(os.environ['MANYARM_FD'])
os.set_blocking(fd, False)
data = b'{"do":"get_variable","name":"Big"}'
try:
    while True: os.write(fd, struct.pack('>I', len(data)) + data)
except BlockingIOError: print('full')
"""
    run = rig.script(script, shell="python", variables={"Big": "x" * 60000})
    assert run.outcome["state"] == "succeeded", run.text()
    assert run.out == "full\n"

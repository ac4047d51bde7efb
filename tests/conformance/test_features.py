"""What a job can do is the same over every kind of spoke."""

import hashlib
import os
import random
import secrets

import pytest

from tests.conformance.processes import alive, until_gone
from tests.conformance.world import ENVIRONMENTS, KINDS, seen
from tests.services.requires import requires
from tests.services.whole import until

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow, pytest.mark.timeout(300)]

MIB = 1024 * 1024
ODD_WORDS = 'Grüße, 世界 🚀 – \u202e "quotes" \'n $(dollars) `ticks` \\ back'


def test_output_arrives_in_order_and_by_stream(world, kind):
    task = world.run_script(kind, "for i in $(seq 1 2000); do echo out $i; done; echo problem >&2; exit 0")
    assert world.printed(task) == [f"out {number}" for number in range(1, 2001)]
    assert [line["text"] for line in world.lines(task) if line["level"] == "stderr"] == ["problem"]
    assert world.of_target(task)["log"] == "complete"


def test_the_exit_code_is_the_script_s(world, kind):
    task = world.begin(kind, "exit 37")
    assert world.until_ended(task)["state"] == "failed"
    assert world.of_target(task)["exit_code"] == 37


def test_a_secret_is_there_and_never_shown(world, kind, project, witness):
    script = f'get_variable Token > {witness}; echo "token $(get_variable Token)"; env'
    task = world.deploy(project(kind, {"Use": script}, secret="the-s3cret-of-conformance"))
    assert witness.read_text().strip() == "the-s3cret-of-conformance"
    assert "token ***" in world.printed(task)
    assert "the-s3cret-of-conformance" not in world.log(task)


def test_outputs_reach_later_steps(world, kind, project):
    later = f'echo "found $(get_variable "Manyarm.Step[First].Output[{kind}].Word")"'
    task = world.deploy(project(kind, {"First": f"set_variable Word '{kind} of word'", "Later": later}))
    assert f"found {kind} of word" in world.printed(task)


def test_scripts_of_any_language_run(world, kind):
    requires("node")
    scripts = {
        "sh": 'echo "$(get_variable Manyarm.Target.Name)"',
        "node": 'console.log(require("manyarm").getVariable("Manyarm.Target.Name"));',
        "shebang": '#!/usr/bin/env perl\nprint qx($ENV{MANYARM_HELPER} get_variable Manyarm.Target.Name), "\\n";',
    }
    for shell, script in scripts.items():
        assert world.printed(world.run_script(kind, script, shell=shell)) == [kind], shell


def test_artifacts_come_back_whole(world, kind):
    script = (
        "import hashlib, random\nfrom manyarm import new_artifact\n"
        "data = random.Random(7).randbytes(3_000_000)\nopen('a.bin', 'wb').write(data)\nnew_artifact('a.bin', 'all.bin')"
    )
    task = world.run_script(kind, script, shell="python")

    def stored():
        return [one for one in world.call("GET", f"/tasks/{task}/artifacts")["items"] if one["stored"]]

    (found,) = until(stored, "the artifact does not arrive")
    content = world.fetch(f"/artifacts/{found['id']}")
    assert (found["name"], content) == ("all.bin", random.Random(7).randbytes(3_000_000))


def test_a_cancel_ends_the_script(world, kind, witness):
    task = world.begin(kind, f"echo $$ > {witness}; sleep 300")
    until(lambda: seen(witness), "the script did not start")
    world.call("POST", f"/tasks/{task}/cancel", {})
    assert world.until_ended(task)["state"] == "cancelled"
    assert not alive(int(seen(witness)[0]))


def test_a_timeout_ends_the_script(world, kind, witness):
    task = world.begin(kind, f"echo $$ > {witness}; sleep 300", timeout_s=2)
    assert world.until_ended(task)["state"] == "failed"
    assert world.of_target(task)["state"] == "timed-out"
    assert not alive(int(seen(witness)[0]))


@pytest.fixture(scope="module")
def with_grandchildren(world):
    """One ignores TERM, one has left its session, one was forked twice: on a target of each kind, and all cancelled."""
    begun = {}
    for kind in KINDS:
        witness = world.shared / secrets.token_hex(8)
        script = f"""
        (trap '' TERM; echo $BASHPID >> {witness}; while :; do sleep 1; done) &
        setsid bash -c 'echo $$ >> {witness}; sleep 300' &
        (bash -c 'echo $$ >> {witness}; sleep 300' &)
        sleep 300
        """
        begun[kind] = world.begin(kind, script), witness
    for task, witness in begun.values():
        until(lambda witness=witness: len(seen(witness)) == 3, "the script did not start its children")
        world.call("POST", f"/tasks/{task}/cancel", {})
    return begun


def test_grandchildren_end_with_a_cancel(world, kind, with_grandchildren):
    task, witness = with_grandchildren[kind]
    assert world.until_ended(task)["state"] == "cancelled"
    assert [pid for pid in map(int, seen(witness)) if alive(pid)] == []


def test_an_isolation_lock_keeps_two_jobs_apart(world, kind, project, witness):
    script = f"echo in >> {witness}; sleep 1; echo out >> {witness}"
    made = project(kind, {"Alone": script}, isolation=f"one at a time on {kind}")
    first, second = (world.begin_deployment(made, environment) for environment in ENVIRONMENTS)
    world.until_succeeded(first)
    world.until_succeeded(second)
    assert seen(witness) == ["in", "out", "in", "out"]


def test_a_large_package_and_what_its_next_version_costs(world, kind, projects, push):
    """30 MiB, half of them incompressible; then 64 KiB inserted in the middle."""
    head, tail = random.Random(1).randbytes(15 * MIB), bytes(range(256)) * (15 * MIB // 256)
    inserted = head[: 8 * MIB] + os.urandom(64 * 1024) + head[8 * MIB :] + tail
    name = f"large-{kind}"
    made = projects.of_package(kind, name)
    stored = {}
    for version, content in {"1.0.0": head + tail, "1.1.0": inserted}.items():
        push(name, version, {"content.bin": content})
        projects.release(made, name, version)
        task = world.deploy(made, version)
        assert f"sum {hashlib.sha256(content).hexdigest()}  -" in world.printed(task)
        stored[version] = world.chunks(kind)
    fresh = sum(size for file, size in stored["1.1.0"].items() if file not in stored["1.0.0"])
    assert 64 * 1024 < fresh < 30 * MIB * 3 // 100


def test_every_character_survives(world, kind, project):
    task = world.deploy(
        project(kind, {"Odd – 名前": 'get_variable Odd; set_variable Back "$(get_variable Odd)"'}, odd=ODD_WORDS)
    )
    assert ODD_WORDS in world.printed(task)


def test_a_line_of_50_megabytes_is_complete(world, kind):
    task = world.run_script(kind, "head -c 50000000 /dev/zero | tr '\\0' x; echo")
    world.until_log_complete(task)
    texts = [line["text"] for line in world.lines(task) if line["level"] == "stdout"]
    assert sum(map(len, texts)) == 50_000_000
    assert set("".join(texts)) == {"x"}


def test_nul_bytes_and_broken_utf_8_are_shown(world, kind):
    task = world.run_script(kind, r"printf 'a\0b\n\377\376 bad\nlast\n'")
    printed = world.printed(task)
    assert len(printed) == 3
    assert printed[0].replace("\x00", "").replace("\u2400", "").replace("\ufffd", "") == "ab"
    assert printed[1].endswith(" bad")
    assert printed[2] == "last"


def test_a_process_left_behind_after_success_goes_on(world, kind, witness):
    world.run_script(kind, f"nohup bash -c 'echo $$ > {witness}; sleep 300' > /dev/null 2>&1 & sleep 0.5")
    (pid,) = map(int, seen(witness))
    assert alive(pid)
    os.kill(pid, 9)
    until_gone(pid)

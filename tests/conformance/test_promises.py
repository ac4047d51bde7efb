"""The promises of docs/architecture.md (R1 to R8, R11), each broken on purpose, over every kind of spoke."""

import hashlib
import random
import secrets

import pytest

from tests.conformance.processes import alive
from tests.conformance.world import KINDS, seen
from tests.services.whole import end, until

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow, pytest.mark.timeout(400)]

LINES = 16
SCRIPT = """
echo start >> {witness}
for i in $(seq 1 {lines}); do echo "line $i"; sleep 0.5; done
echo end >> {witness}
"""


def all_counting(world):
    """A script of some seconds on a target of each kind, seen to print: task and witness by kind."""
    witnesses = {kind: world.shared / secrets.token_hex(8) for kind in KINDS}
    begun = {
        kind: (world.begin(kind, SCRIPT.format(witness=witness, lines=LINES)), witness)
        for kind, witness in witnesses.items()
    }
    for task, _ in begun.values():
        until(lambda task=task: "line 3" in world.printed(task), "the script did not start")
    return begun


def ran_once(world, kind, task, witness):
    """One start, one end, a succeeded task, and every line once."""
    world.until_succeeded(task)
    world.until_log_complete(task)
    assert seen(witness) == ["start", "end"]
    assert world.printed(task) == [f"line {number}" for number in range(1, LINES + 1)]


@pytest.fixture(scope="module")
def carriers_killed(world):
    """What carries each kind is killed amid a script."""
    begun = all_counting(world)
    world.kill_carriers()
    return begun


@pytest.fixture(scope="module")
def engine_killed(world):
    begun = all_counting(world)
    end(world.part("hub"))
    return begun


@pytest.fixture(scope="module")
def broker_killed(world):
    begun = all_counting(world)
    end(world.broker_pid())
    return begun


@pytest.fixture(scope="module")
def logs_lost(world):
    """Every third part of what they printed while the engine was away was lost by the broker."""
    begun = all_counting(world)
    with world.without_engine():
        for _, witness in begun.values():
            until(lambda witness=witness: "end" in seen(witness), "the script did not end")
        assert world.lose_logs() >= len(KINDS)
    return begun


@pytest.fixture(scope="module")
def held_up(world):
    """A run for each kind while nobody can take it; what became of it, when everybody was back."""
    tasks, words, witnesses = {}, {}, {}
    for kind in KINDS:
        world.pause(kind)
    try:
        for kind in KINDS:
            witnesses[kind] = world.shared / f"late-{kind}"
            tasks[kind] = world.begin(kind, f"echo ran >> {witnesses[kind]}")
        for kind in KINDS:
            words[kind] = until(
                lambda task=tasks[kind]: world.task(task)["waiting_for"], "it does not say why it waits"
            )
        for kind in KINDS:
            world.until_ended(tasks[kind], 90)
    finally:
        for kind in KINDS:
            world.resume(kind)
    for kind in KINDS:
        world.run_script(kind, "true")
    return tasks, words, witnesses


def test_r1_and_r3_a_run_outlives_who_carries_it_and_is_not_started_again(world, kind, carriers_killed):
    ran_once(world, kind, *carriers_killed[kind])


def test_r1_a_supervisor_that_is_killed_makes_no_success(world, kind, witness):
    task = world.begin(kind, f"echo $PPID $$ > {witness}; sleep 300")
    until(lambda: seen(witness), "the script did not start")
    world.kill_supervisor(kind, task)
    assert world.until_ended(task)["state"] in {"unknown", "failed"}
    until(lambda: not alive(int(seen(witness)[1])), "its script goes on alone")


def test_r2_nothing_starts_past_its_expiry(world, kind, held_up):
    tasks, _, witnesses = held_up
    # Unknown where it had gone out already: who stands still cannot say that it was not taken.
    assert world.of_target(tasks[kind])["state"] in {"expired", "unknown"}
    assert seen(witnesses[kind]) == []


def test_r3_a_run_outlives_the_engine(world, kind, engine_killed):
    ran_once(world, kind, *engine_killed[kind])


def test_r4_a_flood_of_output_has_no_gap(world, kind):
    task = world.run_script(kind, "seq 1 200000")
    world.until_log_complete(task)
    digest = hashlib.sha256()
    for line in world.printed(task):
        digest.update(line.encode() + b"\n")
    expected = hashlib.sha256(b"".join(b"%d\n" % number for number in range(1, 200_001)))
    assert digest.hexdigest() == expected.hexdigest()


STRANGE = r"""
head -c 6000000 /dev/zero | tr '\0' x; echo
head -c 200000 /dev/zero; echo
head -c 500000 /dev/urandom; echo
for i in $(seq 1 3000); do printf '\033[31m\033[2J\033]0;%d\007' $i; done; echo
echo the last line
"""


def test_r4_f19_whatever_a_script_prints_is_here_to_the_last_byte(world, kind):
    """A line of six megabytes, NULs, bytes that are no text, a terminal's tricks."""
    task = world.run_script(kind, STRANGE)
    world.until_log_complete(task)
    (log,) = world.of_target(task)["logs"]
    assert (log["agrees"], log["digest"]) == (True, log["outcome_digest"])
    assert log["bytes"] > 6_700_000
    printed = world.printed(task)
    assert printed[-1] == "the last line"
    assert sum(text.count("x") for text in printed) >= 6_000_000


def test_r4_what_the_broker_lost_of_a_log_is_fetched_again_from_the_target(world, kind, logs_lost):
    task, witness = logs_lost[kind]
    world.until_succeeded(task)
    world.until_log_complete(task)
    assert sorted(world.printed(task)) == sorted(f"line {number}" for number in range(1, LINES + 1))
    (log,) = world.of_target(task)["logs"]
    assert (log["agrees"], log["digest"], log["missing"]) == (True, log["outcome_digest"], [])
    assert "LOG_GAP: log incomplete: records" in world.log(task)
    assert seen(witness) == ["start", "end"]


def test_r5_a_cancel_overtakes_what_was_sent_and_not_begun(world, kind, witness):
    """Command and cancel wait together; if the command is taken a moment earlier, it does not get far."""
    world.pause(kind)
    try:
        task = world.begin(kind, f"echo begun >> {witness}; sleep 60; echo done >> {witness}")
        until(lambda: world.of_target(task)["state"] == "sent", "the command was not sent")
        world.call("POST", f"/tasks/{task}/cancel", {})
    finally:
        world.resume(kind)
    assert world.until_ended(task)["state"] == "cancelled"
    assert world.of_target(task)["state"] == "cancelled"
    world.run_script(kind, "true")
    assert "done" not in seen(witness)


def test_r6_what_waits_says_for_whom(kind, held_up):
    _, words, _ = held_up
    assert kind in words[kind]


def test_r7_and_r3_a_broker_that_is_killed_costs_nothing(world, kind, broker_killed):
    ran_once(world, kind, *broker_killed[kind])
    world.run_script(kind, "true")


def test_r8_altered_and_replayed_commands_do_nothing(world, kind, witness):
    """The very bytes of a genuine command, again, altered, and to another; then junk."""
    with world.tapped(kind) as tap:
        world.run_script(kind, f"echo ran >> {witness}")
        frame = tap.command()
        altered = bytearray(frame)
        altered[random.Random(5).randrange(len(frame))] ^= 1
        other = next((name for name in KINDS if name != kind), kind)
        tap.publish(kind, frame)
        tap.publish(kind, bytes(altered))
        tap.publish(other, frame)
        tap.publish(kind, b"not a frame at all")
    for name in {kind, other}:
        world.run_script(name, "true")
    assert seen(witness) == ["ran"]


def test_r11_a_damaged_chunk_is_noticed_and_fetched_again(world, kind, projects, push):
    name = f"sound-{kind}"
    content = random.Random(3).randbytes(2_000_000)
    made = projects.of_package(kind, name)
    for version in ("1.0.0", "1.1.0"):
        push(name, version, {"content.bin": content, "version": version.encode()})
        projects.release(made, name, version)
    world.deploy(made, "1.0.0")
    damaged = world.damage_chunks(kind)
    assert damaged > 10
    task = world.deploy(made, "1.1.0")
    assert f"sum {hashlib.sha256(content).hexdigest()}  -" in world.printed(task)

"""F8, F22, F25, F29: commands come a hundred times, are cancelled at every moment, meet a spoke that sleeps or is revoked."""

import os
import random
import secrets
import signal
import time

import pytest

from tests.chaos.proxy import Trouble, Way
from tests.chaos.steps import begun, must_have_run_once
from tests.conformance.processes import alive
from tests.conformance.world import seen
from tests.flow.conftest import archive
from tests.services.whole import until
from wire.envelope import MessageType

pytestmark = [pytest.mark.rabbitmq, pytest.mark.chaos, pytest.mark.timeout(900)]
KINDS = ("polling", "listening", "ssh", "local")


def witness_of(fleet):
    return fleet.shared / secrets.token_hex(8)


@pytest.mark.parametrize("kind", KINDS)
def test_f8_a_command_and_its_cancel_a_hundred_times_in_any_order_are_one_start_and_one_end(whole_field, kind):
    witness = witness_of(whole_field)
    chance = random.Random(f"8 {kind}")
    with whole_field.tapped(kind) as tap:
        task = whole_field.begin(kind, f"echo start >> {witness}; sleep 300; echo end >> {witness}")
        until(lambda: seen(witness), "the script did not start")
        whole_field.call("POST", f"/tasks/{task}/cancel", {})
        command, cancel = tap.next_of(MessageType.COMMAND), tap.next_of(MessageType.CANCEL)
        assert whole_field.until_ended(task)["state"] == "cancelled"
        frames = [command] * 50 + [cancel] * 50
        chance.shuffle(frames)
        for frame in frames:
            tap.publish(kind, frame)
    whole_field.run_script(kind, "true")
    assert seen(witness) == ["start"]
    assert whole_field.task(task)["state"] == "cancelled"


@pytest.mark.parametrize("kind", KINDS)
def test_f8_a_cancel_before_its_command_wins_however_often_the_command_comes(whole_field, kind):
    """The spoke stands still until both wait for it; then the command comes fifty times more."""
    witness = witness_of(whole_field)
    with whole_field.tapped(kind) as tap:
        whole_field.pause(kind)
        try:
            # Short enough to be over long before the end of this test, if it ever began.
            task = whole_field.begin(kind, f"echo start >> {witness}")
            command = tap.next_of(MessageType.COMMAND)
            whole_field.call("POST", f"/tasks/{task}/cancel", {})
            cancel = tap.next_of(MessageType.CANCEL)
        finally:
            whole_field.resume(kind)
        ended = whole_field.until_ended(task)["state"]
        started = len(seen(witness))
        for frame in [command] * 50 + [cancel]:
            tap.publish(kind, frame)
    whole_field.run_script(kind, "true")
    # Whichever of the two it took first: one start at the most, and none where it says that it never began.
    assert len(seen(witness)) == started <= 1
    assert ended in {"cancelled", "succeeded"}
    assert (whole_field.of_target(task)["started_at"] is None) == (started == 0)


ZOO = {
    "a plain child": "sleep 300",
    "grandchildren": "bash -c 'bash -c \"sleep 300\" & sleep 300' & sleep 300",
    "a daemon, forked twice": "(setsid bash -c 'echo $$ >> {witness}; sleep 300' &) ; sleep 300",
    "deaf to TERM": "trap '' TERM; while :; do sleep 1; done",
    "deaf, and forked twice": (
        "(setsid bash -c 'trap \"\" TERM; echo $$ >> {witness}; while :; do sleep 1; done' &) ; sleep 300"
    ),
    "forks for ever": "while :; do sleep 0.2 & sleep 0.1; done",
    "stopped": "sleep 300 & kill -STOP $!; echo $! >> {witness}; sleep 300",
}


@pytest.mark.parametrize("animal", ZOO, ids=[name.replace(" ", "-") for name in ZOO])
def test_f22_a_cancel_ends_every_process_of_a_run(whole_field, animal):
    """On every kind at once; each process wrote down its number."""
    runs = {}
    for kind in KINDS:
        witness = witness_of(whole_field)
        script = f"echo $$ >> {witness}\n" + ZOO[animal].format(witness=witness)
        runs[kind] = whole_field.begin(kind, script), witness
    expected = 2 if "{witness}" in ZOO[animal] else 1
    for task, witness in runs.values():
        until(lambda witness=witness: len(seen(witness)) == expected, "the script did not start")
        whole_field.call("POST", f"/tasks/{task}/cancel", {})
    for kind, (task, witness) in runs.items():
        assert whole_field.until_ended(task)["state"] == "cancelled", kind
        assert [pid for pid in seen(witness) if alive(int(pid))] == [], kind


def test_f22_a_cancel_does_not_wait_behind_a_package(whole_field, tmp_path):
    """The package comes by drips: it would take minutes."""
    name = "slow"
    archive(tmp_path / f"{name}.1.0.0.tar", {"content.bin": random.Random(name).randbytes(3_000_000)})
    whole_field.manyarm("package", "push", str(tmp_path / f"{name}.1.0.0.tar"))
    whole_field.project_of_package(name, "polling")
    whole_field.gateway_door.meet(Trouble(Way.DOWN, bytes_per_s=20_000))
    task = whole_field.begin_deployment(name, "Here")
    until(lambda: whole_field.of_target(task)["state"] in {"accepted", "running"}, "it is not taken")
    whole_field.call("POST", f"/tasks/{task}/cancel", {})
    assert whole_field.until_ended(task, 60)["state"] == "cancelled"
    assert whole_field.of_target(task)["state"] == "cancelled"


@pytest.mark.parametrize("sleeps_s", [45, 600])
def test_f25_who_slept_past_the_expiry_starts_nothing_late_and_brings_what_ran(whole_field, sleeps_s):
    counting = begun(whole_field, {kind: [10] for kind in KINDS})
    witnesses = {kind: witness_of(whole_field) for kind in KINDS}
    for kind in KINDS:
        whole_field.pause(kind)
    try:
        tasks = {kind: whole_field.begin(kind, f"echo late >> {witnesses[kind]}") for kind in KINDS}
        for task in tasks.values():
            assert whole_field.until_ended(task, 180)["state"] in {"failed", "unknown"}
        time.sleep(sleeps_s)
    finally:
        for kind in KINDS:
            whole_field.resume(kind)
    for kind in KINDS:
        whole_field.run_script(kind, "true")
    assert not any(seen(witness) for witness in witnesses.values())
    must_have_run_once(whole_field, counting)


def test_f29_a_revoked_spoke_is_out_at_once_and_stays_out_however_often_it_returns(whole_field):
    """A spoke of this test's own; what ran on it is told as revoked, and nothing new reaches it."""
    whole_field.enrol("doomed", "doomed", environments=("Here",))
    whole_field.start("doomed")
    whole_field.until_healthy("doomed")
    witness = witness_of(whole_field)
    task = whole_field.begin("doomed", f"echo start >> {witness}; sleep 5; echo end >> {witness}")
    until(lambda: seen(witness), "the script did not start")
    whole_field.manyarm("spoke", "revoke", "doomed")
    assert whole_field.until_ended(task)["state"] == "failed"
    assert whole_field.of_target(task)["state"] == "revoked"
    whole_field.kill_spoke("doomed")
    whole_field.start("doomed")
    until(lambda: seen(witness) == ["start", "end"], "the script was not left alone")
    (spoke,) = [one for one in whole_field.json("spoke", "list", "--json") if one["name"] == "doomed"]
    assert spoke["state"] == "revoked"
    os.kill(whole_field.processes()["doomed"].pid, signal.SIGKILL)
    whole_field._spokes.pop("doomed").wait()

"""From a command in the mailbox to its result at the hub: the agent, with the runner as it is built, in one process."""

import io
import json
import os
import tarfile
import time
from concurrent.futures import Future
from pathlib import Path

import pytest
import zstandard

from spokes.agent.home import SpokeHome
from tests.fakes.memory import MemoryConnection
from tests.fakes.spoke_home import serving
from wire.chunks_artifact import open_artifact
from wire.errors import Nacked
from wire.keys import new_id
from wire.messages import Op


def job_files(world, cid: str) -> list[Path]:
    return [path for path in (world.home.root / "jobs" / cid).rglob("*") if path.is_file()]


def test_a_script_runs_and_its_output_and_result_arrive(world):
    with world.serving():
        sent = world.run("echo hello from the target; exit 3")
        result = world.end.result(sent.cid)
        assert (result.state, result.exit_code) == ("failed", 3)
        assert b"hello from the target\n" in world.end.whole_log(sent.cid)
        assert world.end.ack(sent.cid).state == "accepted"


def test_ack_and_result_name_the_command_that_they_answer(world):
    with world.serving():
        sent = world.run()
        world.end.result(sent.cid)
        for received in world.end.answers[sent.cid]:
            assert (received.header.re, received.header.rh) == (sent.mid, sent.sha256)


def test_a_supervisor_that_stands_by_takes_the_next_job(world):
    with world.serving(standby=True) as daemon:
        world.end.result(world.run().cid)
        world.end.wait(lambda: daemon.sites.supervisors._waiting is not None, "a standby")
        standby = daemon.sites.supervisors._waiting.child
        sent = world.run("echo $PPID")
        assert world.end.result(sent.cid).state == "succeeded"
        supervisor = json.loads((world.home.root / "jobs" / sent.cid / "supervisor").read_text())
        assert supervisor["pid"] == standby.pid


def test_the_supervisor_that_stands_by_ends_with_the_daemon(world):
    with world.serving(standby=True) as daemon:
        world.end.result(world.run().cid)
        world.end.wait(lambda: daemon.sites.supervisors._waiting is not None, "a standby")
        standby = daemon.sites.supervisors._waiting.child
    assert standby.wait(timeout=10) == 0
    assert not list((world.home.root / "run").glob("standby-*"))


def test_a_secret_reaches_the_script_and_no_file_and_no_log(world):
    canary = "canary-5f2a91c7"
    with world.serving():
        script = 'v="$(get_variable Token)"; echo "length ${#v}, value $v"; sleep 0.2'
        sent = world.run(script, secrets={"Token": canary})
        log = world.end.whole_log(sent.cid)
        assert b"length 15" in log
        assert canary.encode() not in log
        assert all(canary.encode() not in path.read_bytes() for path in world.home.root.rglob("*") if path.is_file())


def test_output_variables_arrive_and_secret_ones_are_not_kept(world):
    canary = "canary-77aa01"
    with world.serving():
        sent = world.run(f"set_variable Plain one; set_variable Hidden {canary} --secret")
        outputs = {one.name: one for one in world.end.result(sent.cid).outputs}
        assert (outputs["Plain"].value, outputs["Plain"].secret) == ("one", False)
        assert (outputs["Hidden"].value, outputs["Hidden"].secret) == (canary, True)
        outcome = world.home.root / "jobs" / sent.cid / "outcome.json"
        world.end.wait(lambda: canary not in outcome.read_text(), "the blanked outcome")
        assert canary.encode() not in SpokeHome(world.home.root).journal.read_bytes()


def test_an_artifact_is_sealed_to_the_hub_and_named_in_the_result(world):
    with world.serving():
        sent = world.run("seq 1 50000 > report.txt; new_artifact report.txt")
        (ref,) = world.end.result(sent.cid).artifacts
        assert (ref.name, ref.size) == ("report.txt", 288894)
        sealed = world.gateway.artifacts[ref.artifact]
        opened = b"".join(open_artifact(io.BytesIO(sealed), [world.hub.box], ref.artifact))
        assert opened.startswith(b"1\n2\n")
        assert len(opened) == ref.size


def deploy(world, ref, **changes):
    package = {
        "id": ref.package,
        "version": ref.version,
        "extension": "tar" if ref.extension == "tar.zst" else ref.extension,
        "manifest_id": ref.manifest_id,
        "sha256": ref.sha256,
    }
    target = world.home.root / "applications" / "web"
    job = {
        "package": package,
        "step": {"name": "Deploy", "kind": "deploy-package"},
        "properties": {"install_to": str(target)},
    }
    return world.end.command(world.home.spoke_id, world.job(job=job, extra=(ref,), **changes)), target


def tar_of(files: dict[str, bytes]) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return whole.getvalue()


@pytest.mark.parametrize("extension", ["tar", "tar.zst"])
def test_a_package_is_fetched_and_deployed(world, extension):
    content = tar_of({"index.html": b"hello 1.0.0", "big.bin": os.urandom(500_000)})
    packed = zstandard.compress(content) if extension == "tar.zst" else content
    ref = world.gateway.add_package(packed, "web", "1.0.0", extension)
    with world.serving():
        sent, target = deploy(world, ref)
        result = world.end.result(sent.cid)
        assert result.state == "succeeded", (result.message, world.end.whole_log(sent.cid))
        assert (target / "current" / "index.html").read_bytes() == b"hello 1.0.0"


def test_a_new_version_costs_only_the_chunks_that_changed(world):
    content = os.urandom(3_000_000)
    first = world.gateway.add_package(tar_of({"big.bin": content}), "web", "1.0.0", "tar")
    changed = content[:1_500_000] + b"a few other bytes" + content[1_500_000:]
    second = world.gateway.add_package(tar_of({"big.bin": changed}), "web", "1.1.0", "tar")
    with world.serving():
        assert world.end.result(deploy(world, first)[0].cid).state == "succeeded"
        before = world.gateway.sent_bytes
        assert world.end.result(deploy(world, second)[0].cid).state == "succeeded"
        assert world.gateway.sent_bytes - before < len(content) // 10


def test_a_cancel_ends_the_run_and_says_that_it_did(world):
    with world.serving():
        sent = world.run("echo started; sleep 60")
        world.end.wait(lambda: b"started" in world.end._spool_unlocked(sent.cid), "its first line")
        world.end.cancel(world.home.spoke_id, sent.cid)
        result = world.end.result(sent.cid)
        assert (result.state, result.cancel_confirmed) == ("cancelled", True)


def test_a_cancel_that_comes_before_its_command_wins_for_ever(world, tmp_path):
    witness = tmp_path / "witness"
    with world.serving():
        command = world.job(f"echo ran >> {witness}")
        world.end.cancel(world.home.spoke_id, command.cid)
        assert world.end.result(command.cid).state == "cancelled"
        for _ in range(2):
            world.end.command(world.home.spoke_id, command)
        world.end.wait(lambda: len(world.end.results[command.cid]) >= 2, "the same answer again")
        assert {result.state for result in world.end.results[command.cid]} == {"cancelled"}
        assert not witness.exists()


def test_a_command_that_must_wait_waits_and_can_be_cancelled_meanwhile(world, tmp_path):
    witness = tmp_path / "witness"
    with world.serving():
        sent = world.run(f"echo ran >> {witness}", not_before=world.end.now + 600)
        assert world.end.ack(sent.cid).state == "accepted"
        world.end.cancel(world.home.spoke_id, sent.cid)
        assert world.end.result(sent.cid).state == "cancelled"
        assert not witness.exists()


def test_ping_and_check_are_answered_without_a_run(world):
    with world.serving():
        for op in (Op.PING, Op.CHECK):
            command = world.job(op=op)
            command = type(command)(
                **{**{f: getattr(command, f) for f in command.__dataclass_fields__}, "packages": ()}
            )
            sent = world.end.command(world.home.spoke_id, command)
            assert world.end.result(sent.cid).state == "succeeded"
        assert not list((world.home.root / "jobs").iterdir())


def test_a_spoke_is_welcomed_and_then_beats_with_the_hubs_nonce(world):
    with world.serving():
        spoke = world.end.wait_live(world.home.spoke_id)
        world.end.wait(lambda: len(spoke.beats) >= 3, "three beats")
        counters = [beat.counter for beat in spoke.beats]
        assert counters == sorted(set(counters))
        assert {beat.hub_nonce for beat in spoke.beats} == {spoke.hub_nonce}


def test_beats_go_on_while_the_work_is_busy(world):
    with world.serving():
        sent = world.run("for i in $(seq 1 30000); do echo line $i; done; sleep 2")
        spoke = world.end.spokes[world.home.spoke_id]
        world.end.wait(lambda: any(sent.cid in beat.jobs for beat in spoke.beats), "a beat that names the job")
        assert world.end.result(sent.cid).state == "succeeded"


def test_a_hello_names_what_the_journal_holds_unreported(world):
    world.end.welcomes = True
    with world.serving():
        sent = world.run("sleep 3")
        world.end.ack(sent.cid)
        world.end.wait(lambda: bool(world.end.logs[sent.cid]) or world.home.root.exists(), "a start")
    with world.serving():
        spoke = world.end.wait_live(world.home.spoke_id)
        assert sent.cid in {report.cid for report in spoke.hellos[-1].reports}
        assert world.end.result(sent.cid).state == "succeeded"


def test_a_long_log_arrives_whole_in_order_and_once(world):
    with world.serving():
        sent = world.run("for i in $(seq 1 40000); do echo line number $i; done")
        lines = world.end.whole_log(sent.cid).decode().splitlines()
        assert [line for line in lines if line.startswith("line number")] == [
            f"line number {number}" for number in range(1, 40001)
        ]


def test_a_broker_that_blocks_holds_nothing_up_for_ever(world):
    with world.serving():
        sent = world.run("for i in $(seq 1 20); do echo line $i; sleep 0.1; done")
        world.end.ack(sent.cid)
        world.broker.block()
        time.sleep(1.5)
        world.broker.block(blocked=False)
        assert world.end.result(sent.cid).state == "succeeded"
        assert world.end.whole_log(sent.cid).count(b"line") >= 20


class Refusing(MemoryConnection):
    """A broker whose log queue is full every second time."""

    count = 0

    def publish(self, message):
        if message.key.endswith(".log"):
            self.count += 1
            if self.count % 2:
                failed = Future()
                failed.set_exception(Nacked("the queue is full"))
                return failed
        return super().publish(message)


def test_log_that_the_broker_does_not_take_is_kept_and_sent_again_whole_and_in_order(world):
    connection = Refusing(world.broker, f"spoke-{world.home.spoke_id}")
    with serving(world.home, connection):
        sent = world.run("for i in $(seq 1 12); do echo line $i; sleep 0.1; done")
        lines = world.end.whole_log(sent.cid).decode().splitlines()
        assert [line for line in lines if line.startswith("line")] == [f"line {number}" for number in range(1, 13)]
        assert connection.count > 4


def test_what_only_the_run_needed_is_removed_when_the_hub_has_the_result(world):
    with world.serving():
        sent = world.run("echo something > left-over")
        world.end.result(sent.cid)
        folder = world.home.root / "jobs" / sent.cid
        world.end.wait(lambda: not (folder / "work").exists(), "the work folder's end")
        assert (folder / "output").exists()


def test_jobs_run_side_by_side(world):
    with world.serving():
        sent = [world.run("sleep 1") for _ in range(5)]
        results = [world.end.result(one.cid) for one in sent]
        assert {result.state for result in results} == {"succeeded"}
        assert max(result.started_at for result in results) < min(result.ended_at for result in results)


def test_two_jobs_with_one_isolation_name_run_one_after_the_other(world):
    with world.serving():
        sent = [
            world.end.command(world.home.spoke_id, world.job("sleep 0.7", job={"isolation": "web"})) for _ in range(2)
        ]
        results = sorted((world.end.result(one.cid) for one in sent), key=lambda result: result.ended_at)
        assert results[1].ended_at - results[0].ended_at >= 600


def test_a_job_of_an_unknown_step_kind_fails_with_a_sentence(world):
    with world.serving():
        sent = world.run(job={"step": {"name": "x", "kind": "no-such-kind"}})
        result = world.end.result(sent.cid)
        assert result.state == "failed"
        assert "no-such-kind" in result.message + world.end.whole_log(sent.cid).decode()


def test_results_wait_for_a_session_and_are_not_lost(world):
    with world.serving():
        sent = world.run("sleep 1; echo done")
        world.end.ack(sent.cid)
    time.sleep(1.5)
    world.end.welcomes = False
    with world.serving():
        time.sleep(1)
        assert not world.end.results[sent.cid]
    world.end.welcomes = True
    with world.serving():
        assert world.end.result(sent.cid).state == "succeeded"
        assert b"done" in world.end.whole_log(sent.cid)


def test_an_id_that_is_new_to_everybody_is_no_error(world):
    with world.serving():
        world.end.wait_live(world.home.spoke_id)
        cid = new_id()
        world.end.cancel(world.home.spoke_id, cid)
        assert world.end.result(cid).state == "cancelled"


def test_a_script_that_prints_nothing_is_heard_of_as_it_begins(world, tmp_path):
    gate = tmp_path / "gate"
    with world.serving():
        sent = world.run(f"while [ ! -e {gate} ]; do sleep 0.05; done")
        # The supervisor's own record: the run's clock begins with it.
        world.end.wait(lambda: world.end.logs[sent.cid], "word that it runs")
        gate.touch()
        assert world.end.result(sent.cid).state == "succeeded"

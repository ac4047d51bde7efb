"""Jobs on a target that is reached by SSH: whole runs over a real sshd, with the hub's end, gateway and broker in memory."""

import hashlib
import io
import json
import random
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import zstandard

from spokes.agent.errors import MachineUnreachable
from spokes.remote import watch
from tests.conformance.processes import alive
from tests.fakes.ssh_world import endpoint_of, ssh_world
from tests.services.sshd import running_sshd
from wire.keys import new_id


@pytest.fixture
def world(tmp_path, sshd):
    with ssh_world(tmp_path, sshd) as world:
        yield world


def counting(witness: Path, count: int, pause_s: float = 0.1) -> str:
    """A script that says when it starts and ends, and prints a numbered line at each pause."""
    loop = f"for i in $(seq 1 {count}); do echo line $i; sleep {pause_s}; done"
    return f"echo start >> {witness}; {loop}; echo end >> {witness}"


def printed(world, sent):
    return [line for line in world.end.whole_log(sent.cid).decode().splitlines() if line.startswith("line")]


def some_lines(world, sent, text=b"line 5"):
    world.end.wait(lambda: text in world.end._spool_unlocked(sent.cid), "some lines")


def only_machine(daemon):
    (site,) = daemon.sites.known()
    return site.machine


def test_a_job_runs_on_the_target_and_says_how_it_ended(world):
    with world.serving():
        sent = world.run('echo "hello from $PWD, ünïcödé"; exit 3')
        result = world.end.result(sent.cid)
        assert (result.state, result.exit_code) == ("failed", 3)
        log = world.end.whole_log(sent.cid).decode()
        assert str(world.target_home / "jobs" / sent.cid) in log
        assert "ünïcödé" in log


def test_the_second_job_uses_the_same_connection(world):
    with world.serving() as daemon:
        assert [world.end.result(world.run().cid).state for _ in range(3)] == ["succeeded"] * 3
        assert only_machine(daemon).connecting.made == 1


def test_a_supervisor_stands_by_for_the_next_job(world):
    with world.serving(standby=True):
        for _ in range(3):
            sent = world.run("echo here")
            assert world.end.result(sent.cid).state == "succeeded"
            assert world.end.whole_log(sent.cid) == b"here\n"
            time.sleep(0.4)


def test_a_connection_that_nobody_needs_is_let_go_and_made_again(world):
    with world.serving() as daemon:
        assert world.end.result(world.run().cid).state == "succeeded"
        connecting = only_machine(daemon).connecting
        world.end.wait(lambda: not daemon.executor.active, "the end of the job")
        # What the job left on the target is cleared up after its end, over the same connection.
        world.end.wait(lambda: connecting.rest(0.1), "the connection to be let go")
        assert world.end.result(world.run().cid).state == "succeeded"
        assert connecting.made == 2


def test_secrets_outputs_and_artifacts_go_their_ways(world):
    script = """
        echo "it has $(get_variable Token | wc -c) bytes"
        set_variable Answer 42
        echo content > report.txt
        new_artifact report.txt
    """
    with world.serving():
        sent = world.run(script, secrets={"Token": "canary-7f31b2"})
        result = world.end.result(sent.cid)
        assert result.state == "succeeded", world.end.whole_log(sent.cid)
        assert [(one.name, one.value) for one in result.outputs] == [("Answer", "42")]
        assert [(one.name, one.size) for one in result.artifacts] == [("report.txt", 8)]
        assert result.artifacts[0].artifact in world.gateway.artifacts


def test_an_artifact_is_brought_though_the_connection_dies_while_it_is_read(world):
    with world.serving() as daemon:
        assert world.end.result(world.run().cid).state == "succeeded"
        link = only_machine(daemon).connecting.link()
        ask, cuts = link.ask, []

        def cut_off(do, body=b"", **request):
            if do == "read" and not cuts:
                cuts.append(do)
                world.sshd.cut()
            return ask(do, body, **request)

        link.ask = cut_off
        result = world.end.result(world.run("head -c 3000000 /dev/urandom > big; new_artifact big").cid)
        assert cuts
        assert result.artifacts[0].artifact in world.gateway.artifacts


def test_a_server_that_falls_silent_is_left_and_asked_anew(world, monkeypatch, tmp_path):
    monkeypatch.setattr(watch, "_GRACE_S", 1.0)
    witness = tmp_path / "witness"
    with world.serving() as daemon:
        sent = world.run(counting(witness, 30))
        some_lines(world, sent)
        world.sshd.pause()
        assert world.end.result(sent.cid).state == "succeeded"
        assert printed(world, sent) == [f"line {number}" for number in range(1, 31)]
        assert only_machine(daemon).connecting.made == 2
        world.sshd.cut()


def test_a_cancel_ends_the_run_and_its_grandchildren(world, tmp_path):
    pids = tmp_path / "pids"
    script = f"(setsid sleep 300 & echo $! >> {pids}; sleep 300) & echo $! >> {pids}; echo line 5; wait"
    with world.serving():
        sent = world.run(script)
        some_lines(world, sent)
        world.end.cancel(world.home.spoke_id, sent.cid)
        result = world.end.result(sent.cid)
        assert (result.state, result.cancel_confirmed) == ("cancelled", True)
        assert not [pid for pid in pids.read_text().split() if alive(int(pid))]


def test_a_cut_connection_costs_neither_run_nor_line(world, tmp_path):
    witness = tmp_path / "witness"
    with world.serving() as daemon:
        sent = world.run(counting(witness, 40))
        for number in (b"line 5", b"line 15", b"line 25"):
            some_lines(world, sent, number)
            assert world.sshd.cut()
        assert world.end.result(sent.cid).state == "succeeded"
        assert printed(world, sent) == [f"line {number}" for number in range(1, 41)]
        assert witness.read_text().split() == ["start", "end"]
        assert only_machine(daemon).connecting.made == 4


def test_a_run_that_ends_while_the_server_is_down_is_reported_when_it_is_up(world, tmp_path):
    witness = tmp_path / "witness"
    with world.serving():
        sent = world.run(counting(witness, 10))
        some_lines(world, sent)
        world.sshd.stop()
        while "end" not in witness.read_text():
            time.sleep(0.05)
        world.sshd.start()
        assert world.end.result(sent.cid).state == "succeeded"
        assert len(printed(world, sent)) == 10


def test_a_daemon_that_comes_back_takes_up_the_run_by_the_command_that_it_kept(world, tmp_path):
    witness = tmp_path / "witness"
    with world.serving():
        sent = world.run(counting(witness, 20))
        some_lines(world, sent)
    with world.serving():
        assert world.end.result(sent.cid).state == "succeeded"
        assert printed(world, sent) == [f"line {number}" for number in range(1, 21)]
        assert witness.read_text().split() == ["start", "end"]


@pytest.mark.parametrize("arrives", [True, False])
def test_a_connection_that_dies_amid_the_start_starts_it_once(world, tmp_path, arrives):
    witness = tmp_path / "witness"
    with world.serving() as daemon:
        assert world.end.result(world.run().cid).state == "succeeded"
        connecting = only_machine(daemon).connecting
        ask, cuts = connecting.link().ask, []

        def cut_off(do, body=b"", **request):
            if do == "start" and not cuts:
                cuts.append(do)
                if arrives:
                    ask(do, body, **request)
                world.sshd.cut()
                raise MachineUnreachable("cut off")
            return ask(do, body, **request)

        connecting.link().ask = cut_off
        sent = world.run(counting(witness, 3))
        assert world.end.result(sent.cid).state == "succeeded"
        assert cuts
        assert witness.read_text().split() == ["start", "end"]
        assert len(printed(world, sent)) == 3


def test_a_machine_that_was_reset_amid_the_start_is_not_made_to_run_it_again(world, tmp_path):
    """The power cut took the mark of the start along; that the machine runs since later says enough."""
    witness = tmp_path / "witness"
    with world.serving() as daemon:
        assert world.end.result(world.run().cid).state == "succeeded"
        connecting = only_machine(daemon).connecting
        ask, starts = connecting.link().ask, []

        def reset(do, body=b"", **request):
            if do != "start":
                return ask(do, body, **request)
            starts.append(do)
            if len(starts) > 1:
                return ask(do, body, **request | {"boot": "of before"})
            ask(do, body, **request)
            world.end.wait(witness.exists, "the script")
            (world.target_home / request["folder"] / "started").unlink()
            raise MachineUnreachable("reset")

        connecting.link().ask = reset
        result = world.end.result(world.run(counting(witness, 1)).cid)
        assert (result.state, len(starts)) == ("unknown", 2)
        assert "started anew" in result.known
        assert witness.read_text().split().count("start") == 1


def test_a_start_that_is_asked_for_twice_at_once_happens_once(world, tmp_path):
    witness = tmp_path / "witness"
    with world.serving() as daemon:
        sent = world.run(counting(witness, 3))
        some_lines(world, sent, b"line 1")
        machine = only_machine(daemon)
        tree = daemon.sites.known()[0].runners.tree(world.runner.sha256)
        for _ in range(3):
            again = machine.connecting.ask(
                "start",
                b'{"secrets":{},"go":true}\n',
                folder=f"jobs/{sent.cid}",
                runner=f"runners/{world.runner.sha256}",
                tree=tree,
                job="",
                standby=False,
            )
            assert again.shown["fresh"] is False
        assert world.end.result(sent.cid).state == "succeeded"
        assert witness.read_text().split() == ["start", "end"]


def test_a_killed_supervisor_is_unknown_and_nothing_of_its_run_lives_on(world, tmp_path):
    pid = tmp_path / "pid"
    with world.serving():
        sent = world.run(f"echo $$ > {pid}; echo line 5; sleep 300")
        some_lines(world, sent)
        supervisor = json.loads((world.target_home / "jobs" / sent.cid / "supervisor").read_text())
        psutil.Process(supervisor["pid"]).kill()
        result = world.end.result(sent.cid)
        assert result.state == "unknown"
        assert "records of output" in result.known
        script = int(pid.read_text())
        world.end.wait(lambda: not psutil.pid_exists(script), "the script's end", 10)


def test_nothing_of_a_reported_job_but_its_spool_stays(world):
    with world.serving() as daemon:
        sent = world.run("echo something")
        world.end.whole_log(sent.cid)
        folder = world.target_home / "jobs" / sent.cid
        world.end.wait(lambda: not (folder / "job.json").exists(), "the clearing", 10)
        assert not (folder / "work").exists()
        assert (folder / "output").exists()
        assert daemon._journal.frame(sent.cid) is None
        assert not list((world.home.root / "jobs").iterdir())


def test_two_jobs_that_share_a_lock_run_one_after_the_other(world, tmp_path):
    witness = tmp_path / "witness"
    script = f"echo in >> {witness}; sleep 0.4; echo out >> {witness}"
    with world.serving():
        sent = [world.run(script, job={"isolation": "one at a time"}) for _ in range(3)]
        assert [world.end.result(one.cid).state for one in sent] == ["succeeded"] * 3
        assert witness.read_text().split() == ["in", "out"] * 3


def test_one_spoke_serves_several_targets_at_once(world, tmp_path):
    with running_sshd(tmp_path / "other") as other, world.serving() as daemon:
        second = {"target": new_id(), "endpoint": endpoint_of(other, tmp_path / "second")}
        login = {"Manyarm.Endpoint.private_key": other.client_key}
        first = world.run("sleep 0.5; pwd")
        body = world.job("sleep 0.5; pwd", **second)
        there = world.end.command(world.home.spoke_id, replace(body, secrets=login))
        assert world.end.result(first.cid).state == "succeeded"
        assert world.end.result(there.cid).state == "succeeded"
        assert str(tmp_path / "second").encode() in world.end.whole_log(there.cid)
        assert len(daemon.sites.known()) == 2


@pytest.mark.slow
def test_the_second_version_of_a_package_sends_what_changed(world):
    rng = random.Random(7)
    first = bytearray(rng.randbytes(100 * 1024 * 1024))
    second = bytearray(first)
    for _ in range(64):
        at = rng.randrange(len(second) - 16_384)
        second[at : at + 16_384] = rng.randbytes(16_384)
    refs = [world.gateway.add_package(bytes(one), "big", f"1.{n}.0", "tar") for n, one in enumerate((first, second))]
    with world.serving() as daemon:
        sent = []
        for ref, content in zip(refs, (first, second), strict=True):
            before = sum(sent)
            result = world.end.result(world.end.command(world.home.spoke_id, world.job(extra=(ref,))).cid, 100)
            assert result.state == "succeeded", result
            sent.append(only_machine(daemon).connecting.link().sent_bytes - before)
            there = world.target_home / "packages" / f"{ref.sha256}.tar"
            assert hashlib.sha256(there.read_bytes()).hexdigest() == hashlib.sha256(content).hexdigest()
    print(f"bytes over SSH: {sent[0]:,} then {sent[1]:,} ({sent[1] / len(second):.1%})")
    # 64 places of 16 KiB are 1 %; cutting by content brings the chunks around them.
    assert sent[1] < len(second) * 0.12


def tar_of(**files: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return made.getvalue()


def test_what_is_zstd_arrives_as_its_tar_and_its_second_version_as_what_changed(world):
    rng = random.Random(8)
    noise = rng.randbytes(6_000_000)
    tars = [tar_of(a=noise, b=text) for text in (b"one" * 1000, b"two" * 1000)]
    with world.serving() as daemon:
        sent = [0]
        for number, tar in enumerate(tars):
            packed = zstandard.compress(tar, 3)
            ref = world.gateway.add_package(packed, "site", f"1.{number}.0", "tar.zst")
            for _ in range(2):
                result = world.end.result(world.end.command(world.home.spoke_id, world.job(extra=(ref,))).cid)
                assert result.state == "succeeded", result
            assert (world.target_home / "packages" / f"{ref.sha256}.tar").read_bytes() == tar
            sent.append(only_machine(daemon).connecting.link().sent_bytes)
        assert sent[1] - sent[0] > 6_000_000 > 5 * (sent[2] - sent[1])


def test_a_damaged_chunk_on_the_target_is_found_and_brought_again(world):
    content = random.Random(9).randbytes(3_000_000)
    ref = world.gateway.add_package(content, "web", "1.0.0", "tar")
    with world.serving():
        assert (
            world.end.result(world.end.command(world.home.spoke_id, world.job(extra=(ref,))).cid).state == "succeeded"
        )
        package = world.target_home / "packages" / f"{ref.sha256}.tar"
        package.write_bytes(b"spoiled" + package.read_bytes()[7:])
        chunk = next((world.target_home / "chunks").iterdir())
        chunk.write_bytes(bytes(chunk.stat().st_size))
        assert (
            world.end.result(world.end.command(world.home.spoke_id, world.job(extra=(ref,))).cid).state == "succeeded"
        )
        assert package.read_bytes() == content


def test_everything_on_the_target_is_the_users_own(world):
    with world.serving():
        assert world.end.result(world.run().cid).state == "succeeded"
        assert {oct(path.stat().st_mode & 0o777) for path in world.target_home.iterdir()} == {"0o700"}
        assert oct(world.target_home.stat().st_mode & 0o777) == "0o700"

"""What the machine does to a spoke: a disk that takes nothing for a while, a daemon that is told to go at a bad moment."""

import os
import signal
import sqlite3
import subprocess
import time
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import fields, replace

from spokes.agent.errors import GatewayUnreachable, JournalFailed
from spokes.agent.home import SpokeHome
from spokes.agent.journal import Arrival, Journal, State
from spokes.agent.processes import ProcessName, boot_id, end_job, start_time
from spokes.agent.sites import OneSite
from tests.fakes.memory import MemoryConnection
from tests.fakes.spoke_home import serving
from wire.errors import Nacked
from wire.keys import new_id


def folder_of(world, cid):
    return world.home.root / "jobs" / cid


def test_f12_a_command_from_the_future_or_the_past_makes_the_spoke_ask_for_the_time(world):
    with world.serving():
        spoke = world.end.wait_live(world.home.spoke_id)
        for shift_s in (3600, -3600):
            seen = len(spoke.hellos)
            body = world.job("true")
            sealed = world.end.sealed(world.home.spoke_id, body, now_s=world.end.now + shift_s)
            world.end.publish(world.home.spoke_id, sealed.frame)
            assert world.end.reject(sealed.mid).code == ("ENV_FUTURE" if shift_s > 0 else "ENV_EXPIRED")
            world.end.wait(lambda seen=seen: len(spoke.hellos) > seen, "another hello")
            world.end.wait_live(world.home.spoke_id)
        assert world.end.result(world.run("true").cid).state == "succeeded"


def test_a_place_that_cannot_be_remembered_does_not_cost_the_run(world):
    with world.serving():
        sent = world.run("for i in $(seq 1 15); do echo line $i; sleep 0.1; done")
        world.end.ack(sent.cid)
        # A folder where the file must be is as good as a full disk: the rename fails.
        (folder_of(world, sent.cid) / "shipped" / "in the way").mkdir(parents=True)
        assert world.end.result(sent.cid).state == "succeeded"
        assert world.end.whole_log(sent.cid).count(b"line") == 15


def reported(daemon, sent):
    entry = daemon._journal.entry(sent.cid)
    return entry is not None and entry.reported_at is not None


@contextmanager
def journal_full(daemon):
    """Nobody can write the journal until the block ends."""
    daemon._journal._connection.execute("PRAGMA busy_timeout=10")
    other = sqlite3.connect(daemon._home.journal, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def test_a_cancel_that_a_killed_daemon_had_only_written_down_is_answered_by_the_next_one(world):
    with world.serving():
        world.end.wait_live(world.home.spoke_id)
        sent = world.run("echo started", not_before=world.end.now + 60)
        world.end.ack(sent.cid)
    journal = Journal(SpokeHome(world.home.root).journal)
    row = journal.entry(sent.cid)
    kept = {one.name: getattr(row, one.name) for one in fields(Arrival) if hasattr(row, one.name)}
    cancelled = journal.cancel(Arrival(**{**kept, "mid": new_id(), "op": "cancel", "frame": b"", "at": world.end.now}))
    assert (cancelled.state, cancelled.result) == (State.CANCELLED, "")
    journal.close()
    with world.serving():
        assert world.end.result(sent.cid).state == "cancelled"


def test_a_job_starts_when_the_journal_can_be_written_again(world):
    with world.serving() as daemon:
        world.end.wait_live(world.home.spoke_id)
        sent = world.run("echo started", not_before=world.end.now + 2)
        world.end.ack(sent.cid)
        with journal_full(daemon):
            time.sleep(3)
            assert not world.end.results[sent.cid]
        assert world.end.result(sent.cid).state == "succeeded"


class LockingMachine:
    """The machine, whose disk is full from the start of a job until somebody makes room."""

    def __init__(self, daemon, machine):
        self._daemon, self._machine = daemon, machine
        self.full = None

    def __getattr__(self, name):
        return getattr(self._machine, name)

    def run(self, what):
        watch = self._machine.run(what)
        if getattr(what, "cid", None):
            self.full = journal_full(self._daemon)
            self.full.__enter__()
        return watch


def test_a_run_is_followed_though_the_journal_cannot_note_that_it_runs(world):
    with world.serving() as daemon:
        world.end.result(world.run().cid)
        site = daemon.sites.site
        machine = LockingMachine(daemon, site.machine)
        daemon.executor._sites = OneSite(replace(site, machine=machine))
        sent = world.run("echo one line; sleep 0.5")
        result = world.end.result(sent.cid)
        assert (result.state, result.exit_code) == ("succeeded", 0)
        assert b"one line" in world.end.whole_log(sent.cid)
        machine.full.__exit__(None, None, None)
        world.end.wait(lambda: reported(daemon, sent), "the report to be noted", 20)


def test_a_report_that_cannot_be_noted_is_noted_later(world):
    with world.serving() as daemon:
        noted = daemon._journal.settle

        def fails(ends, reported, at):
            daemon._journal.settle = noted
            raise JournalFailed("the disk is full")

        daemon._journal.settle = fails
        sent = world.run()
        world.end.wait(lambda: reported(daemon, sent), "the report to be noted", 20)
        assert len({result.chain for result in world.end.results[sent.cid]}) == 1


def test_a_journal_that_cannot_be_read_costs_no_thread(world):
    with world.serving(limits={"jobs_at_once": 1}) as daemon:
        world.end.result(world.run().cid)
        entry = daemon._journal.entry

        def fails(cid):
            daemon._journal.entry = entry
            raise sqlite3.OperationalError("disk I/O error")

        daemon._journal.entry = fails
        daemon.executor._reporter.again("0" * 32)
        world.end.wait(lambda: daemon._journal.entry is entry, "the failure")

        def breaks():
            raise sqlite3.OperationalError("disk I/O error")

        daemon.executor._slots[""].submit(breaks)
        assert world.end.result(world.run().cid).state == "succeeded"


class WithoutLogs(MemoryConnection):
    """A broker whose log queue is full."""

    def publish(self, message):
        if not message.key.endswith(".log"):
            return super().publish(message)
        failed = Future()
        failed.set_exception(Nacked("the queue is full"))
        return failed


def test_the_log_of_a_cancelled_run_arrives_after_a_restart(world):
    with serving(world.home, WithoutLogs(world.broker, f"spoke-{world.home.spoke_id}")):
        sent = world.run("echo the last words; sleep 60")
        output = folder_of(world, sent.cid) / "output"
        world.end.wait(lambda: output.exists() and b"last words" in output.read_bytes(), "some output")
        world.end.cancel(world.home.spoke_id, sent.cid)
        assert world.end.result(sent.cid).state == "cancelled"
    assert not world.end.logs[sent.cid]
    with world.serving():
        assert b"the last words" in world.end.whole_log(sent.cid)
        assert {result.state for result in world.end.results[sent.cid]} == {"cancelled"}


def test_a_stranger_who_leads_a_session_under_a_used_pid_is_not_ended():
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        started = start_time(stranger.pid)
        assert end_job(ProcessName(stranger.pid, started - 1, boot_id()), "a" * 32) == 0
        assert stranger.poll() is None
        assert end_job(ProcessName(stranger.pid, started, boot_id()), "a" * 32) == 1
        assert stranger.wait(timeout=10) == -signal.SIGKILL
    finally:
        stranger.kill()


def test_what_a_job_started_is_found_by_its_mark_and_another_jobs_is_left_alone():
    mine, others = (
        subprocess.Popen(["sleep", "60"], start_new_session=True, env={**os.environ, "MANYARM_JOB": cid * 32})
        for cid in "ab"
    )
    try:
        # A leader that is long gone, on this boot.
        assert end_job(ProcessName(2**22 - 1, 1, boot_id()), "a" * 32) == 1
        assert mine.wait(timeout=10) == -signal.SIGKILL
        assert others.poll() is None
        assert end_job(ProcessName(2**22 - 1, start_time(others.pid) + 1, boot_id()), "b" * 32) == 0
        assert end_job(ProcessName(2**22 - 1, 1, "another boot"), "b" * 32) == 0
    finally:
        mine.kill()
        others.kill()
        others.wait()


def test_an_artifact_that_a_leaving_daemon_could_not_bring_is_brought_by_the_next_one(world):
    def silent(*_):
        raise GatewayUnreachable("no answer")

    with world.serving() as daemon:
        daemon._gateway.put_artifact = silent
        sent = world.run("echo something > report.txt; new_artifact report.txt")
        outcome = folder_of(world, sent.cid) / "outcome.json"
        world.end.wait(outcome.exists, "the end of the run")
        time.sleep(0.5)
    assert not world.end.results[sent.cid]
    with world.serving():
        (ref,) = world.end.result(sent.cid).artifacts
        assert ref.artifact in world.gateway.artifacts


def test_what_a_killed_daemon_left_half_done_is_removed_by_the_next_one(world):
    root = world.home.root
    with world.serving() as daemon:
        daemon.executor._reporter._reported = lambda _: None
        sent = world.run("set_variable Hidden canary-91ab33 --secret; echo something > left-over")
        running = world.run("sleep 3")
        world.end.wait(lambda: reported(daemon, sent), "the report to be noted")
        world.end.ack(running.cid)
    folder = folder_of(world, sent.cid)
    assert (folder / "work" / "left-over").exists()
    half_written = [root / "packages" / ".x.tar.part", root / "chunks" / ".ab.0011", root / "run" / "standby-1.err"]
    for path in half_written:
        path.write_bytes(b"half")
    (root / "jobs" / ("e" * 32)).mkdir()
    (root / ".profile").write_text("not ours")
    with world.serving():
        assert world.end.result(running.cid).state == "succeeded"
        assert {path.name for path in folder.iterdir()} <= {"output", "shipped", "supervisor", "supervisor.err"}
        assert not any(path.exists() for path in [*half_written, root / "jobs" / ("e" * 32)])
        assert (root / ".profile").exists()


def test_a_box_key_that_cannot_be_kept_does_not_hold_up_what_was_accepted(world):
    with world.serving():
        world.end.wait_live(world.home.spoke_id)
        sent = world.run("echo resumed", not_before=world.end.now + 3)
        world.end.ack(sent.cid)
    spoke = world.end.spokes[world.home.spoke_id]
    world.end.welcomes, seen = False, len(spoke.hellos)
    with world.serving(limits={"hello_wait_s": 1}):
        world.end.wait(lambda: len(spoke.hellos) > seen, "a hello")
        (world.home.root / "trust" / "hub-box.mad1").chmod(0o644)
        world.end.welcomes = True
        assert world.end.result(sent.cid).state == "succeeded"


def test_a_job_that_waits_for_a_place_expires_unless_the_hub_renews_it(world, tmp_path):
    gate, spoke = tmp_path / "gate", world.home.spoke_id
    with world.serving(limits={"jobs_at_once": 1}) as daemon:
        first = world.run(f"while [ ! -e {gate} ]; do sleep 0.05; done")
        world.end.wait(lambda: daemon._journal.entry(first.cid) is not None, "the first job")
        bodies = [world.job("echo I ran"), world.job("echo I ran"), world.job("echo I ran")]
        for body in bodies:
            world.end.command(spoke, body, ttl_s=10)
        renewed, _, cancelled = bodies
        world.end.wait(lambda: all(daemon._journal.entry(body.cid) for body in bodies), "the others")
        before = daemon._journal.entry(renewed.cid)
        assert before.state is State.ACCEPTED
        world.end.command(spoke, renewed, ttl_s=900)
        world.end.cancel(spoke, cancelled.cid)
        assert world.end.result(cancelled.cid).state == "cancelled"
        world.end.wait(lambda: daemon._journal.entry(renewed.cid).exp > before.exp, "its new time")
        world.end.wait(lambda: daemon.uplink.now() > before.exp, "the former time to pass")
        gate.touch()
        states = [world.end.result(body.cid).state for body in bodies]
        assert states == ["succeeded", "expired", "cancelled"]
        assert not folder_of(world, cancelled.cid).exists()

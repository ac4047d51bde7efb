"""The journal: rows before acks, one end for each job, and what a crash leaves of it."""

import sqlite3
import stat
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from spokes.agent.errors import JournalFailed
from spokes.agent.journal import Arrival, End, Journal, State, Verdict
from wire.keys import new_id

NOW = 1_800_000_000


def arrival(**changes) -> Arrival:
    made = Arrival(
        cid=new_id(),
        mid=new_id(),
        ses=new_id(),
        seq=1,
        op="run_job",
        job_sha256="a" * 64,
        frame_sha256="b" * 64,
        exp=NOW + 900,
        runner="c" * 64,
        capability="capability",
        frame=b"the sealed frame",
        at=NOW,
    )
    return replace(made, **changes)


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / "journal.db")
    yield journal
    journal.close()


def test_a_new_job_is_accepted_and_the_same_one_is_known(journal):
    one = arrival()
    assert journal.accept([one])[0][0] is Verdict.NEW
    verdict, entry = journal.accept([replace(one, mid=new_id(), seq=9, frame_sha256="d" * 64)])[0]
    assert (verdict, entry.state, entry.seq, entry.frame_sha256) == (Verdict.KNOWN, State.ACCEPTED, 9, "d" * 64)


def test_a_job_that_waits_is_renewed_by_a_later_frame_and_by_no_earlier_one(journal):
    one = arrival()
    journal.accept([one])
    later = replace(one, mid=new_id(), exp=NOW + 1800, capability="newer", frame=b"another frame")
    for again in (later, replace(one, mid=new_id())):
        ((_, entry),) = journal.accept([again])
        assert (entry.exp, entry.capability, journal.frame(one.cid)) == (NOW + 1800, "newer", b"another frame")
    journal.mark_starting(one.cid)
    ((_, entry),) = journal.accept([replace(one, mid=new_id(), exp=NOW + 9000, frame=b"with secrets")])
    assert (entry.exp, journal.frame(one.cid)) == (NOW + 1800, None)


def test_another_job_under_the_same_id_or_message_is_said_to_be_another(journal):
    one = arrival()
    journal.accept([one])
    assert journal.accept([replace(one, job_sha256="e" * 64)])[0][0] is Verdict.OTHER_JOB
    assert journal.accept([arrival(mid=one.mid)])[0][0] is Verdict.OTHER_JOB


def test_only_one_caller_may_start_a_job(journal):
    one = arrival()
    journal.accept([one])
    assert [journal.mark_starting(one.cid) for _ in range(3)] == [True, False, False]


def test_a_cancelled_job_cannot_be_started(journal):
    one = arrival()
    journal.accept([one])
    assert journal.cancel(replace(one, mid=new_id())).state is State.CANCELLED
    assert journal.mark_starting(one.cid) is False


def test_a_cancel_before_its_command_wins(journal):
    one = arrival()
    journal.cancel(replace(one, job_sha256="", mid=new_id()))
    verdict, entry = journal.accept([one])[0]
    assert (verdict, entry.state) == (Verdict.KNOWN, State.CANCELLED)
    assert journal.accept([replace(one, job_sha256="f" * 64)])[0][0] is Verdict.OTHER_JOB


def test_a_cancel_does_not_undo_what_has_started_or_ended(journal):
    started, ended = arrival(), arrival()
    journal.accept([started, ended])
    journal.mark_starting(started.cid)
    journal.end(ended.cid, State.FINISHED, "{}", "0" * 64)
    assert journal.cancel(replace(started, mid=new_id())).state is State.STARTING
    assert journal.cancel(replace(ended, mid=new_id())).state is State.FINISHED


def test_the_first_end_wins(journal):
    one = arrival()
    journal.accept([one])
    journal.end(one.cid, State.EXPIRED, "first", "1" * 64)
    assert journal.end(one.cid, State.FINISHED, "second", "2" * 64).result == "first"


def test_the_frame_with_its_secrets_goes_before_the_job_runs(journal):
    one = arrival(frame=b"sealed canary frame")
    journal.accept([one])
    assert journal.frame(one.cid) == b"sealed canary frame"
    journal.mark_starting(one.cid)
    assert journal.frame(one.cid) is None


def test_a_fault_of_our_own_amid_a_change_is_told_and_undone(journal, monkeypatch):
    monkeypatch.setattr("spokes.agent.journal._insert", lambda *_: {}["missing"])
    with pytest.raises(JournalFailed):
        journal.accept([arrival()])
    monkeypatch.undo()
    assert [verdict for verdict, _ in journal.accept([arrival()])] == [Verdict.NEW]


def test_that_a_job_runs_is_written_with_the_next_commit_or_when_it_has_waited_long_enough(journal):
    one, other = arrival(), arrival()
    journal.accept([one])
    journal.mark_starting(one.cid)
    journal.mark_running(one.cid)
    assert journal.entry(one.cid).state is State.STARTING
    journal.accept([other])
    assert journal.entry(one.cid).state is State.RUNNING
    journal.mark_starting(other.cid)
    journal.mark_running(other.cid)
    journal.write_what_waits()
    assert journal.entry(other.cid).state is State.RUNNING


def test_many_ends_and_reports_are_one_commit_and_the_first_end_still_wins(journal):
    one, other, third = arrival(), arrival(), arrival()
    journal.accept([one, other, third])
    journal.end(one.cid, State.EXPIRED, "first", "1" * 64)
    ends = [End(cid, State.FINISHED, "second", "2" * 64) for cid in (one.cid, other.cid)]
    journal.settle(ends, [one.cid], NOW)
    assert [journal.entry(cid).result for cid in (one.cid, other.cid)] == ["first", "second"]
    assert {entry.cid for entry in journal.unreported()} == {other.cid, third.cid}


def test_a_journal_that_keeps_commands_lets_go_of_them_with_the_report(tmp_path):
    journal = Journal(tmp_path / "keeping.db", keeps_commands=True)
    one, other = arrival(frame=b"sealed canary frame"), arrival(frame=b"another frame")
    journal.accept([one, other])
    journal.mark_starting(one.cid)
    journal.mark_running(one.cid)
    journal.end(one.cid, State.FINISHED, "{}", "1" * 64)
    assert (journal.frame(one.cid), len(journal.frames())) == (b"sealed canary frame", 2)
    journal.settle([], [one.cid], NOW)
    assert (journal.frame(one.cid), journal.frames()) == (None, [b"another frame"])
    journal.close()


def test_old_reported_rows_are_forgotten_and_others_kept(journal):
    old, young, open_ = arrival(exp=NOW), arrival(exp=NOW + 40 * 86_400), arrival(exp=NOW)
    journal.accept([old, young, open_])
    for one in (old, young):
        journal.end(one.cid, State.FINISHED, "{}", "0" * 64)
        journal.settle([], [one.cid], NOW)
    assert journal.prune(NOW + 31 * 86_400, 30 * 86_400) == 1
    assert journal.entry(old.cid) is None
    assert journal.entry(young.cid) is not None
    assert journal.entry(open_.cid) is not None


def test_the_journal_is_private_and_synced_in_full(journal, tmp_path):
    assert stat.S_IMODE((tmp_path / "journal.db").stat().st_mode) == 0o600
    assert journal._connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_what_was_accepted_is_there_after_a_kill(tmp_path):
    program = (
        "import os, signal, sys; sys.path.insert(0, '.')\n"
        "from pathlib import Path\n"
        "from spokes.agent.journal import Journal\n"
        "from tests.spokes.test_journal import arrival\n"
        "journal = Journal(Path(sys.argv[1]))\n"
        "one = arrival(cid='1' * 32); journal.accept([one]); print('accepted', flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "j.db")], capture_output=True, timeout=30)
    assert b"accepted" in done.stdout
    journal = Journal(tmp_path / "j.db")
    assert journal.entry("1" * 32).state is State.ACCEPTED
    journal.close()


def test_threads_share_commits_and_each_hears_its_own_answer(journal):
    arrivals = [arrival() for _ in range(64)]
    heard = {}

    def accept(one):
        heard[one.cid] = journal.accept([one])[0][1].cid

    threads = [threading.Thread(target=accept, args=(one,)) for one in arrivals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == {one.cid: one.cid for one in arrivals}


def test_a_journal_that_cannot_be_written_says_so_and_takes_up_again(journal, tmp_path):
    other = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    journal._connection.execute("PRAGMA busy_timeout=10")
    other.execute("BEGIN IMMEDIATE")
    one = arrival()
    with pytest.raises(JournalFailed):
        journal.accept([one])
    other.execute("ROLLBACK")
    other.close()
    assert journal.accept([one])[0][0] is Verdict.NEW

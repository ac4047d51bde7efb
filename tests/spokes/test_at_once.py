"""A job for which all is at hand starts with the commit that accepts it, and is acknowledged by what it says."""

import time
from dataclasses import replace

from spokes.agent.acks import WAITS_S, Acks
from spokes.agent.journal import State
from spokes.agent.sites import OneSite


class Wrapped:
    """A machine whose `put` of a job does something first."""

    def __init__(self, machine, first):
        self._machine = machine
        self._first = first

    def __getattr__(self, name):
        return getattr(self._machine, name)

    def put(self, folder, files, *, durable=True):
        self._first()
        self._machine.put(folder, files, durable=durable)


def put_first(daemon, first):
    site = daemon.sites.site
    daemon.executor._sites = OneSite(replace(site, machine=Wrapped(site.machine, first)))


def fails():
    raise OSError("no room")


def test_a_job_for_which_all_is_at_hand_is_accepted_and_started_in_one_commit(world):
    with world.serving() as daemon:
        world.end.result(world.run().cid)
        daemon._journal.mark_starting = None
        assert world.end.result(world.run().cid).state == "succeeded"


def test_the_first_job_fetches_its_runner_and_is_only_accepted_till_then(world):
    with world.serving() as daemon:
        seen = []
        marked = daemon._journal.mark_starting
        daemon._journal.mark_starting = lambda cid: seen.append(daemon._journal.entry(cid).state) or marked(cid)
        assert world.end.result(world.run().cid).state == "succeeded"
        assert seen == [State.ACCEPTED]


def test_what_could_not_be_laid_out_has_failed_and_is_not_unknown(world):
    with world.serving() as daemon:
        world.end.result(world.run().cid)
        put_first(daemon, fails)
        assert world.end.result(world.run().cid).state == "failed"


def test_a_daemon_that_leaves_starts_first_what_its_journal_calls_starting(world):
    with world.serving() as daemon:
        world.end.result(world.run().cid)
        put_first(daemon, lambda: time.sleep(0.5))
        sent = world.run("echo started")
        world.end.wait(lambda: daemon._journal.entry(sent.cid) is not None, "the row")
    with world.serving():
        assert world.end.result(sent.cid).state == "succeeded"
        assert b"started" in world.end.whole_log(sent.cid)


def test_a_job_that_says_something_soon_is_not_acknowledged_besides(world, monkeypatch):
    monkeypatch.setattr("spokes.agent.acks.WAITS_S", 60.0)
    with world.serving():
        world.end.result(world.run().cid)
        sent = world.run("echo at once")
        world.end.result(sent.cid)
    # Who leaves acknowledges all that is still owed.
    with world.serving():
        world.end.result(world.run().cid)
    assert world.end.acks[sent.cid] == []


def test_an_acknowledgement_is_due_after_a_moment_unless_its_job_was_heard_of():
    now = [100.0]
    acks = Acks(lambda: now[0])
    for cid in ("a", "b"):
        acks.owe(cid, re=cid, rh="")
    assert acks.due() == []
    acks.said("a")
    assert acks.due_in_s(10) == WAITS_S
    now[0] += WAITS_S
    assert [owed.cid for owed in acks.due()] == ["b"]
    assert acks.due() == []
    assert acks.due_in_s(10) == 10


def test_a_daemon_that_leaves_owes_nothing():
    acks = Acks(lambda: 0.0)
    acks.owe("a", re="", rh="")
    assert [owed.cid for owed in acks.due(all_of_them=True)] == ["a"]

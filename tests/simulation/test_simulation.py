"""Every promise in thousands of histories, and at every place where a process may be killed; and that a breach is seen."""

import tomllib
from pathlib import Path

import pytest

from tests.simulation.history import minimal, tell
from tests.simulation.hub_model import Hub
from tests.simulation.spoke_model import Spoke

KEPT = tomllib.loads((Path(__file__).parent / "kept.toml").read_text())["history"]
A_BLOCK = 750


@pytest.mark.parametrize("block", range(4))
def test_every_promise_holds_in_every_history(block):
    for seed in range(block * A_BLOCK, (block + 1) * A_BLOCK):
        told = tell(seed)
        assert not told.wrong, f"python -m tests.simulation 1 {seed} tells it: {told.wrong}"


@pytest.mark.parametrize("seed", range(6))
def test_a_kill_between_any_two_effects_costs_nothing(seed):
    points = tell(seed, kills=()).points
    assert points > 20
    for point in range(1, points + 1):
        told = tell(seed, kills={point})
        assert not told.wrong, f"tell({seed}, kills={{{point}}}): {told.wrong}"


@pytest.mark.parametrize("row", KEPT, ids=lambda row: row["showed"])
def test_what_went_wrong_once_does_not_again(row):
    assert not tell(row["seed"], row["without"]).wrong


class ForgetsItsJournal(Spoke):
    """Its disk keeps nothing."""

    def forget(self):
        super().forget()
        self.journal.clear()


class StartsWhatItFindsStarting(Spoke):
    """Instead of saying that it cannot know."""

    def _take_up(self, entry):
        if entry.cid in self.machine.runs:
            super()._take_up(entry)
        else:
            self.machine.start(entry.cid)
            self._follow(entry)

    def _prepared(self, entry, at_once):
        if self.world.now < entry.expires_ms:
            self.machine.start(entry.cid)
            self.point()
            entry.state = "running"
            self._follow(entry)


class LooksAtNoClock(Spoke):
    def _prepared(self, entry, at_once):
        self.after(PAST_ANY_EXPIRY_MS, self._far_too_late, entry)

    def _far_too_late(self, entry):
        entry.state = "running"
        self.machine.start(entry.cid)
        self._follow(entry)


class BelievesWhatItSent(Spoke):
    """Takes a log for delivered that nobody took."""

    def _shipped(self, entry, run, before, after, *, taken):
        super()._shipped(entry, run, before, after, taken=True)


class IsDeafToCancels(Spoke):
    def _cancel(self, command):
        self._owed.discard(command.cid)
        self._ended(self.journal.get(command.cid) or self._unheard_of(command), "cancelled", None, 0)

    def _unheard_of(self, command):
        self._accept(command, known=False)
        return self.journal[command.cid]


class SaysItBeforeItIsCommitted(Hub):
    """Acknowledges first; what it had taken is gone with it."""

    def _take_results(self):
        for message, connection in self._results:
            self._broker.ack(message, connection)
        super()._take_results()


class GuessesThatItExpired(Hub):
    def _may_have_been_taken(self, cid):
        return False


class SendsOnce(Hub):
    """And never again, whatever becomes of it."""

    def _publish(self):
        super()._publish()
        for row in self.outbox:
            if row.state == "waiting" and row.attempts:
                row.state = "published"
                row.published_ms = 10**12


class ForgetsItsTimers(Hub):
    def forget(self):
        super().forget()
        if hasattr(self, "timers"):
            self.timers.clear()


class CountsEveryFrame(Hub):
    """Of a log, though it may have come before."""

    def _followed(self, job, log):
        super()._followed(job, log)
        return list(log.records)


PAST_ANY_EXPIRY_MS = 70_000


@pytest.mark.parametrize(
    "worse",
    [
        {"spoke_kind": ForgetsItsJournal},
        {"spoke_kind": StartsWhatItFindsStarting},
        {"spoke_kind": LooksAtNoClock},
        {"spoke_kind": BelievesWhatItSent},
        {"spoke_kind": IsDeafToCancels},
        {"hub_kind": SaysItBeforeItIsCommitted},
        {"hub_kind": GuessesThatItExpired},
        {"hub_kind": SendsOnce},
        {"hub_kind": ForgetsItsTimers},
        {"hub_kind": CountsEveryFrame},
    ],
    ids=lambda worse: next(iter(worse.values())).__name__,
)
def test_whoever_breaks_a_promise_is_found_out(worse):
    assert any(tell(seed, **worse).wrong for seed in range(6_000))


def test_a_history_is_the_same_each_time_it_is_told():
    assert [tell(seed, story=True).story for seed in range(20)] == [tell(seed, story=True).story for seed in range(20)]


def test_what_is_minimal_still_goes_wrong(monkeypatch):
    monkeypatch.setattr("tests.simulation.history.Hub._may_have_been_taken", GuessesThatItExpired._may_have_been_taken)
    seed = next(seed for seed in range(6_000) if tell(seed).wrong and len(tell(seed).faults) > 2)
    without = minimal(seed)
    assert without
    assert tell(seed, without).wrong

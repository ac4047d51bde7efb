"""What a run's end waits for, over a spool and a hub's end that do as the test says."""

import json
import threading
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from config.limits import SpokeLimits
from spokes.agent.following import Follower
from spokes.agent.journal import State
from spokes.agent.machine import Seen
from spokes.agent.spool import Position
from spokes.agent.stopping import Stopping
from wire.messages import EndState

ENDLESS = 1 << 40


class EndlessSpool:
    """A run that is over, and has printed more than anybody will ever ship."""

    def __init__(self, state):
        self.position = Position()
        spool = {"records": ENDLESS, "chain": "0" * 64, "bytes": ENDLESS}
        self.outcome = json.dumps(
            {
                "state": state, "exit_code": None, "message": "", "outputs": [], "artifacts": [], "survivors": [],
                "ended_processes": 3, "cancel_confirmed": True, "started_at": 1, "ended_at": 2, "spool": spool,
            }
        ).encode()  # fmt: skip

    def read(self, limit, wait_s):
        at = self.position
        self.position = Position(at.records + 1, at.offset + 100, at.chain)
        return Seen(b"x" * 100, self.position, self.outcome, lost=False)

    def confirmed(self, position):
        """Remembers nothing."""

    def close(self):
        """Has nothing to close."""


class TakingUplink:
    """The hub takes every frame at once."""

    def __init__(self):
        self.frames = 0

    def wait_live(self, stopping):
        return not stopping.is_set()

    def send(self, body, **header):
        self.frames += 1
        done = Future()
        done.set_result(None)
        return done


@pytest.fixture
def told():
    """Follows an endless log; what was reported, and how many frames of the log the hub had before it."""
    stopping, uplink, ends = Stopping(), TakingUplink(), []
    said = threading.Event()

    def ended(entry, result, *, has_outcome):
        ends.append((result, uplink.frames))
        said.set()

    def follow(state):
        entry = SimpleNamespace(cid="0" * 32, state=State.RUNNING, result="", capability="")
        journal = SimpleNamespace(newest=lambda one: one, is_of_this_boot=lambda _: True)
        reporter = SimpleNamespace(ended=ended, log_done=lambda _: None)
        site = SimpleNamespace(artifacts=SimpleNamespace(bring=lambda *_: ()))
        follower = Follower(
            journal, uplink, reporter, SpokeLimits(), stopping, now_ms=lambda: 0, has_secrets=lambda *_: None
        )
        threading.Thread(target=follower.follow, args=(entry, site, EndlessSpool(state)), daemon=True).start()
        return said, ends

    yield follow, uplink
    stopping.set()


@pytest.mark.parametrize("state", [EndState.CANCELLED, EndState.TIMED_OUT])
def test_the_end_of_a_run_that_was_stopped_does_not_wait_behind_its_log(told, state):
    follow, uplink = told
    said, ends = follow(state)
    assert said.wait(60)
    (result, before) = ends[0]
    assert (result.state, result.ended_processes) == (state, 3)
    while uplink.frames < before + 10:
        # The rest of the log goes on behind it.
        threading.Event().wait(0.01)


def test_any_other_end_comes_behind_its_log(told):
    follow, uplink = told
    said, _ = follow(EndState.SUCCEEDED)
    while uplink.frames < 1_000:
        threading.Event().wait(0.01)
    assert not said.is_set()

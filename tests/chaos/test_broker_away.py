"""F4 and F5: the broker is gone for a while, or comes back having forgotten everything, while fifty steps run."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.chaos.fleet import Fleet
from tests.chaos.steps import begun, must_have_run_once
from tests.services.whole import end, until

pytestmark = [pytest.mark.rabbitmq, pytest.mark.chaos, pytest.mark.timeout(1_800)]


@contextmanager
def broker_gone(fleet: Fleet) -> Iterator[None]:
    """Killed, and not started again before the block ends: who would do that stands still."""
    os.kill(fleet.up_pid(), signal.SIGSTOP)
    try:
        end(fleet.broker_pid())
        yield
    finally:
        os.kill(fleet.up_pid(), signal.SIGCONT)


def fifty(fleet: Fleet, away_s: int) -> dict[str, list[int]]:
    """Some end while the broker is away, some after."""
    return {kind: [5 + (away_s + 15) * number // 12 for number in range(13)] for kind in fleet.kinds}


@pytest.mark.parametrize("away_s", [5, 90, 600])
def test_f4_a_broker_that_is_away_costs_fifty_steps_nothing_and_nobody_starts_anything(whole_field, away_s):
    counting = begun(whole_field, fifty(whole_field, away_s))
    with broker_gone(whole_field):
        time.sleep(away_s)
    back = time.monotonic()
    whole_field.until_whole()
    for kind in whole_field.kinds:
        whole_field.run_script(kind, "true")
    print(f"F4: {time.monotonic() - back:.1f} s after a broker was away for {away_s} s all kinds have run a new script")
    must_have_run_once(whole_field, counting)


def test_f5_a_broker_that_has_forgotten_everything_is_told_again_and_nothing_runs_twice(whole_field):
    counting = begun(whole_field, {kind: [10, 20] for kind in whole_field.kinds})
    with broker_gone(whole_field):
        # What waits in a mailbox is gone as well: asked for while nobody takes it.
        task = whole_field.begin("polling", f"echo ran >> {whole_field.shared}/forgotten")
        until(lambda: whole_field.of_target(task)["state"] in {"sent", "planned", "waiting"}, "it does not wait")
        shutil.rmtree(whole_field.home / "broker" / "mnesia")
    whole_field.until_whole()
    must_have_run_once(whole_field, counting)
    whole_field.until_succeeded(task)
    assert (whole_field.shared / "forgotten").read_text().split() == ["ran"]

"""A hub that was away does not give up what has ended meanwhile."""

from dataclasses import replace
from threading import Event as Gate

from hub.orchestrator.engine import Engine
from hub.orchestrator.hearing import Hearing
from hub.states import JobState
from hub.storage.models import Job
from tests.hub.orchestrator.rig import LIMITS, Rig, Run, until

DAY_MS = 86_400_000


def test_silence_counts_after_the_grace_without_a_break():
    hears = [True]
    hearing = Hearing(lambda: hears[0], 1_000)
    assert [hearing.trusts_silence(at) for at in (0, 999, 1_000)] == [False, False, True]
    hears[0] = False
    assert not hearing.trusts_silence(5_000)
    hears[0] = True
    assert [hearing.trusts_silence(at) for at in (6_000, 6_999, 7_000)] == [False, False, True]


def test_a_result_that_came_while_the_hub_was_away_counts_though_its_deadline_is_past(installed_hub):
    rig = Rig(installed_hub, limits=replace(LIMITS, deaf_grace_s=3_600))
    try:
        gate = Gate()
        web = rig.spoke("web-01", lambda _: Run(gate=gate)).start()
        rig.engine.start()
        task = rig.run("sleep 60", web)
        until(lambda: Job.get(Job.task == task.id).state is JobState.RUNNING)
        rig.engine.stop()
        rig.shift_ms = DAY_MS // 2
        rig.engine = Engine(rig.parts)
        for _ in range(3):
            # The clock looks before anybody has heard of the end.
            rig.engine.clockwork.work()
        assert Job.get(Job.task == task.id).state is JobState.RUNNING
        gate.set()
        rig.engine.start()
        rig.ended(task)
    finally:
        rig.close()


def test_who_says_nothing_is_given_up_when_the_grace_is_over(installed_hub):
    rig = Rig(installed_hub, limits=replace(LIMITS, deaf_grace_s=3_600))
    try:
        rig.spoke("web-01", lambda _: Run(gate=Gate())).start()
        rig.engine.start()
        task = rig.run("sleep 60", rig.spokes["web-01"])
        until(lambda: Job.get(Job.task == task.id).state is JobState.RUNNING)
        rig.shift_ms = DAY_MS // 2
        until(lambda: Job.get(Job.task == task.id).state is JobState.UNKNOWN)
    finally:
        rig.close()

"""Who commits a little sends it; much is left to the publisher's own thread, and nothing goes before its commit."""

import pytest

from hub.orchestrator.outbox import Publisher
from hub.states import OutboxState
from hub.storage.database import write_tx
from hub.storage.models import Outbox, SpokeSession
from tests.hub.orchestrator.rig import Rig, until


@pytest.fixture
def rig(installed_hub_on_each):
    made = Rig(installed_hub_on_each)
    yield made
    made.close()


@pytest.fixture
def called(monkeypatch):
    """How often the publisher's own thread was called; it hears of it no more."""
    calls = []
    monkeypatch.setattr(Publisher, "_call", lambda self: calls.append(self.wake))
    return calls


def begun(rig, count):
    """An engine with so many live spokes, at rest."""
    spokes = [rig.spoke(f"web-{number:02}").start() for number in range(count)]
    rig.engine.start()
    until(lambda: SpokeSession.select().where(SpokeSession.live).count() == count)
    until(lambda: not rig.engine.publisher.work())
    return spokes


def states(task):
    return {row.state for row in Outbox.select() if row.cid in {job.id for job in task.job_set}}


def test_one_command_is_on_its_way_when_its_commit_returns(rig, called):
    spokes = begun(rig, 1)
    called.clear()
    task = rig.run("true", *spokes)
    assert OutboxState.WAITING not in states(task)
    assert called == []
    rig.ended(task)


def test_many_commands_are_left_to_the_thread_whose_work_they_are(rig, called):
    spokes = begun(rig, 6)
    called.clear()
    task = rig.run("true", *spokes)
    assert called != []
    rig.ended(task)


def test_nothing_is_sent_from_inside_a_transaction(rig, called):
    spokes = begun(rig, 1)
    with write_tx():
        task = rig.engine.orchestrator.submit_run(
            rig.context, script="true", shell="bash", targets=[spoke.target for spoke in spokes]
        )
        called.clear()
        rig.engine.wake()
        assert called != []
        assert states(task) == {OutboxState.WAITING}
    rig.ended(task)


def test_who_finds_another_thread_sending_leaves_it_to_the_publisher(rig, called):
    spokes = begun(rig, 1)
    called.clear()
    with rig.engine.publisher._turn:
        task = rig.run("true", *spokes)
        assert states(task) == {OutboxState.WAITING}
    assert called != []
    rig.ended(task)

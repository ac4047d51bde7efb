"""A job that waits at its spoke, for a place or a package, is renewed and does not expire."""

import pytest

from hub.orchestrator.events import CancelAsked
from hub.states import JobState, OutboxKind, OutboxState, TaskState
from hub.storage.models import Job, Outbox
from tests.hub.orchestrator.rig import Rig, Run, until

MINUTE_MS = 60_000


@pytest.fixture
def rig(installed_hub_on_each):
    made = Rig(installed_hub_on_each)
    yield made
    made.close()


def waiting_at_its_spoke(rig):
    """A task whose job was taken and has not begun, its spoke, and the frames of commands that the spoke had."""
    web = rig.spoke("web-01", lambda _: None).start()
    rig.engine.start()
    task = rig.run("true", web)
    until(lambda: Job.get(Job.task == task.id).state is JobState.ACCEPTED)
    return task, web


def its_command():
    return Outbox.get(Outbox.kind == OutboxKind.COMMAND)


def renewed(rig, attempts):
    """Half of its time passes."""
    rig.shift_ms += 8 * MINUTE_MS
    return until(lambda: (row := its_command()).attempts == attempts and row.state is OutboxState.ACCEPTED and row)


def test_it_outlives_its_pick_up_deadline_and_runs_once(rig):
    task, web = waiting_at_its_spoke(rig)
    before = Job.get(Job.task == task.id)
    for attempts in (2, 3, 4):
        assert renewed(rig, attempts).expires_at > rig.parts.clock_ms()
    job = Job.get(Job.task == task.id)
    assert rig.parts.clock_ms() > before.deadline_at
    assert (job.state, job.gives_up_at > before.gives_up_at + 15 * MINUTE_MS) == (JobState.ACCEPTED, True)
    (kept,) = web.journal.values()
    web.report(kept, Run())
    rig.ended(task)


def test_it_is_not_renewed_while_its_spoke_is_away_or_after_a_cancel(rig):
    task, web = waiting_at_its_spoke(rig)
    renewed(rig, 2)
    web.stop()
    rig.shift_ms += 8 * MINUTE_MS
    until(lambda: not rig.engine.sessions.silent())
    rig.engine.clockwork.work()
    assert its_command().attempts == 2
    rig.engine.feed(task.id, CancelAsked("ada"))
    assert rig.state(task) is TaskState.CANCELLING
    rig.shift_ms += MINUTE_MS // 2
    rig.engine.clockwork.work()
    assert its_command().attempts == 2

"""Spokes that know more than their hub: a session that no row names, and jobs of a time that the hub forgot."""

import json
from dataclasses import replace
from threading import Event as Gate

import pytest

from hub.orchestrator.events import HubRestored
from hub.orchestrator.standing import JobProgress, decode_progress, encode_progress
from hub.orchestrator.states import StepState
from hub.states import JobState, OutboxKind, OutboxState, TaskState
from hub.storage.database import write_tx
from hub.storage.models import Event, IssuedFrame, Job, Outbox, Progress, SpokeSession, Task, now_ms
from tests.hub.orchestrator.rig import Rig, Run, until
from wire.messages import Op


@pytest.fixture
def rig(installed_hub):
    made = Rig(installed_hub)
    made.engine.start()
    yield made
    made.close()


def forget(rig):
    """What a restore does to the rows of an engine that is stopped; then it starts again."""
    rig.engine.stop()
    tasks = [row.id for row in Task.select() if row.ended_at is None]
    with write_tx():
        SpokeSession.delete().execute()
        IssuedFrame.delete().execute()
        Outbox.update(state=OutboxState.DEAD).execute()
        rig.engine.steering.feed({task: [HubRestored("the hub was restored")] for task in tasks})
    rig.trust = replace(rig.trust, restored_ms=now_ms())
    rig.engine = type(rig.engine)(rig.parts)
    rig.engine.start()


def ops(spoke):
    return [kept.command.op for kept in spoke.journal.values() if hasattr(kept.command, "op")]


def test_a_spoke_that_beats_in_a_session_that_no_row_names_is_called_in_that_session(rig):
    web = rig.spoke("web")
    web.start()
    until(lambda: SpokeSession.select().where(SpokeSession.live).exists())
    with write_tx():
        SpokeSession.delete().execute()
    # It could open what it was sent, and it was sent once.
    until(lambda: Op.UPDATE_TRUST in ops(web))
    assert Outbox.select().where(Outbox.kind == OutboxKind.CALL).count() == 1
    web.hello()
    until(lambda: SpokeSession.select().where(SpokeSession.live).exists())
    # What it answered to the call is no alarm.
    assert not Event.select().where(Event.action == "reply.refused").exists()


def test_what_runs_there_runs_on_and_its_end_counts(rig):
    gate = Gate()
    web = rig.spoke("web", lambda _: Run(lines=("one",), gate=gate))
    web.start()
    task = rig.run("echo one", web)
    until(lambda: Job.get(Job.task == task.id).state is JobState.RUNNING)
    web.reports = [(Job.get(Job.task == task.id).id, "running")]
    forget(rig)
    web.restart()
    until(lambda: SpokeSession.select().where(SpokeSession.live).exists())
    assert not Outbox.select().where(Outbox.kind == OutboxKind.CANCEL).exists()
    gate.set()
    rig.ended(task)
    assert ops(web).count(Op.RUN_JOB) == 1


def test_what_had_ended_there_is_asked_for_and_counts_as_it_ended(rig):
    web = rig.spoke("web", lambda _: Run(exit_code=0))
    web.start()
    task = rig.run("echo one", web)
    rig.ended(task)
    # As the hub knew it before: sent, and nothing heard.
    other = rig.run("echo two", web)
    rig.ended(other)
    reopen(rig, other)
    forget(rig)
    web.restart()
    rig.ended(other)
    assert ops(web).count(Op.RUN_JOB) == 2


def reopen(rig, task):
    """The rows of a moment when the task's job was sent and had not been answered."""
    row = Progress.get(Progress.task == task.id)
    job = Job.get(Job.task == task.id)
    before = replace(
        decode_progress(row.body),
        state=TaskState.RUNNING,
        steps=(StepState.RUNNING,),
        step=0,
        open=1,
        jobs={job.id: JobProgress(JobState.SENT)},
    )
    with write_tx():
        Progress.update(body=encode_progress(before), version=Progress.version + 1).where(
            Progress.task == task.id
        ).execute()
        Job.update(state=JobState.SENT, ended_at=None, result_sha256=None).where(Job.id == job.id).execute()
        Task.update(state=TaskState.RUNNING, ended_at=None).where(Task.id == task.id).execute()


def test_what_never_came_to_a_spoke_never_begins(rig):
    web = rig.spoke("web", lambda _: Run(lines=("late",)))
    task = rig.run("echo late", web)
    forget(rig)
    web.start()
    rig.ended(task, TaskState.CANCELLED)
    assert Op.RUN_JOB not in ops(web)


def test_a_result_of_the_forgotten_time_counts_from_the_spoke_of_the_job_alone(rig):
    gate = Gate()
    web = rig.spoke("web", lambda _: Run(gate=gate))
    other = rig.spoke("other")
    web.start()
    other.start()
    task = rig.run("echo one", web)
    until(lambda: Job.get(Job.task == task.id).state is JobState.RUNNING)
    cid = Job.get(Job.task == task.id).id
    web.reports = [(cid, "running")]
    forget(rig)
    web.restart()
    other.restart()
    until(lambda: SpokeSession.select().where(SpokeSession.live).count() == 2)
    # The other one claims to have done it, with the very frame.
    other.journal[cid] = replace(web.journal[cid], spool=[], result=None)
    other.report(other.journal[cid], Run(state="failed", exit_code=1))
    until(lambda: Event.select().where(Event.action == "reply.refused").exists())
    assert Task.get_by_id(task.id).ended_at is None
    gate.set()
    rig.ended(task)


def test_what_runs_there_and_nobody_here_remembers_is_said(rig):
    web = rig.spoke("web")
    forget(rig)
    web.reports = [("f" * 32, "running")]
    web.start()
    until(lambda: Event.select().where(Event.action == "job.forgotten").exists())
    (event,) = Event.select().where(Event.action == "job.forgotten")
    assert json.loads(event.bytes)["detail"]["jobs"] == ["f" * 32]

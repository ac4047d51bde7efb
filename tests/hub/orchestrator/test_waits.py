"""The words, and who is named in them; then the same from rows, over the engine and after it is gone."""

from threading import Event as Gate

import pytest

from hub.orchestrator import waiting, waits
from hub.orchestrator.events import CancelAsked
from hub.orchestrator.waits import ENGINE, Carrier, OpenJob, Sending
from hub.states import JobState, OutboxKind, OutboxState, SpokeState, TaskState
from hub.storage.database import write_tx
from hub.storage.models import Job, Spoke, Task
from tests.hub.orchestrator.rig import Rig, Run, until

NOON = 12 * 3600 * 1000
MINUTE = 60_000
LIVE = Carrier("web-03", is_live=True, seen_ms=NOON)
SILENT = Carrier("web-03", is_live=False, seen_ms=NOON - 4 * MINUTE)
NEVER = Carrier("web-03", is_live=False, seen_ms=None, policy=" by policy 'web'")


def a_job(state, **more):
    times = {"since_ms": NOON - MINUTE, "pickup_ms": NOON + 5 * MINUTE, "run_ms": 0, "gives_up_ms": NOON + 6 * MINUTE}
    return OpenJob("web-03", state, **{**times, **more})


RUN = {"run_ms": NOON + 5 * MINUTE}
WORDS = [
    (a_job(JobState.SENT), SILENT, "waits for web-03: last heartbeat 4 min ago; fails at 12:05 UTC"),
    (a_job(JobState.SENT), NEVER, "waits for web-03: never heard of yet; fails at 12:05 UTC by policy 'web'"),
    (a_job(JobState.SENT), LIVE, "waits for web-03: sent, not accepted yet; fails at 12:05 UTC"),
    (
        a_job(JobState.SENT, pickup_ms=NOON - 1),
        SILENT,
        "waits for web-03 to say whether it has taken it; unknown at 12:06 UTC",
    ),
    (
        a_job(JobState.ACCEPTED),
        LIVE,
        "web-03 has taken it and prepares it, or has no place for it yet; unknown at 12:06 UTC",
    ),
    (
        a_job(JobState.ACCEPTED),
        SILENT,
        "waits for web-03, which has taken it: last heartbeat 4 min ago; unknown at 12:06 UTC",
    ),
    (a_job(JobState.RUNNING, **RUN), LIVE, "runs on web-03; ended there at 12:05 UTC at the latest"),
    (
        a_job(JobState.RUNNING, **RUN),
        SILENT,
        "waits for web-03, where it runs: last heartbeat 4 min ago; ended there at 12:05 UTC, unknown here at 12:06 UTC",
    ),
    (
        a_job(JobState.RUNNING, is_cancelled=True),
        LIVE,
        "waits for web-03 to say that all of it has ended; not confirmed at 12:06 UTC",
    ),
    (
        a_job(JobState.RUNNING, is_cancelled=True),
        SILENT,
        "waits for web-03 to end it: last heartbeat 4 min ago; not confirmed at 12:06 UTC",
    ),
]


@pytest.mark.parametrize(("job", "carrier", "sentence"), WORDS, ids=[words for _, _, words in WORDS])
def test_a_job_says_for_whom_it_waits_and_until_when(job, carrier, sentence):
    wait = waits.of_job(job, carrier, NOON)
    assert (wait.sentence, wait.owner) == (sentence, "web-03")
    assert wait.deadline_ms > NOON


def test_a_job_past_its_last_moment_runs_for_nobody():
    for state in (JobState.SENT, JobState.ACCEPTED, JobState.RUNNING):
        wait = waits.of_job(a_job(state, gives_up_ms=NOON - MINUTE), LIVE, NOON)
        assert (wait.owner, wait.is_trouble) == (ENGINE, True)
        assert "nobody looks after it" in wait.sentence
        assert "runs" not in wait.sentence


def test_a_deadline_of_another_day_says_which_day():
    wait = waits.of_job(a_job(JobState.RUNNING, run_ms=NOON + 24 * 60 * MINUTE), LIVE, NOON)
    assert wait.sentence == "runs on web-03; ended there at 1970-01-02 12:00 UTC at the latest"


@pytest.mark.parametrize(
    ("state", "carrier", "words"),
    [
        (OutboxState.WAITING, SILENT, "is kept here until web-03 is there: last heartbeat 4 min ago"),
        (OutboxState.WAITING, LIVE, "goes out once more"),
        (OutboxState.PUBLISHED, LIVE, "was sent 2 times; web-03 has not answered"),
        (OutboxState.HELD, Carrier("hub-ssh", True, NOON, away="no route to host"), "is kept here: no route to host"),
    ],
)
def test_a_message_says_where_it_is(state, carrier, words):
    wait = waits.of_sending(Sending(OutboxKind.CANCEL, state, NOON - MINUTE, NOON + MINUTE, 2), carrier, NOON)
    assert wait.sentence == f"the cancel for {carrier.name} {words}; dropped at 12:01 UTC"
    assert (wait.owner, wait.deadline_ms) == (carrier.name, NOON + MINUTE)


# From rows


@pytest.fixture
def rig(installed_hub_on_each):
    made = Rig(installed_hub_on_each)
    yield made
    made.close()


def all_of(rig, task):
    return waiting.of_task(Task.get_by_id(task.id), rig.parts.clock_ms())


def whole(found):
    """Each with an owner, a sentence and a deadline."""
    return all(one.owner and one.sentence and one.deadline_ms for one in found)


def test_a_task_whose_spoke_is_away_names_it_in_every_part(rig):
    web = rig.spoke("web-01")
    rig.engine.start()
    found = all_of(rig, rig.run("true", web))
    assert [one.what for one in found] == ["task", "step", "job", "message"]
    assert whole(found)
    assert {one.owner for one in found if one.what in {"job", "message"}} == {"web-01"}
    assert "never heard of yet" in found[2].sentence
    assert "kept here until web-01 is there" in found[3].sentence


def test_a_run_shows_its_two_clocks_and_a_step_behind_it_for_whom_it_waits(rig):
    gate = Gate()
    rig.spoke("web-01", lambda _: Run(gate=gate)).start()
    rig.engine.start()
    task = rig.deploy(rig.release([{"name": "first"}, {"name": "second"}]))
    until(lambda: Job.get_or_none(Job.task == task.id, Job.state == JobState.RUNNING))
    job = Job.get(Job.task == task.id, Job.state == JobState.RUNNING)
    assert job.sent_at < job.deadline_at < job.run_deadline_at < job.gives_up_at
    found = all_of(rig, task)
    assert [one.what for one in found] == ["task", "step", "step", "job"]
    assert whole(found)
    assert found[2].sentence == "step 2 waits for 'first'"
    assert found[3].sentence.startswith("runs on web-01; ended there at ")
    gate.set()
    rig.ended(task)
    assert all_of(rig, task) == []


def test_a_cancel_says_whose_confirmation_it_waits_for(rig):
    web = rig.spoke("web-01", lambda _: None).start()
    rig.engine.start()
    task = rig.run("sleep 60", web)
    until(lambda: web.journal)
    until(lambda: Job.get(Job.task == task.id).state is JobState.ACCEPTED)
    rig.engine.feed(task.id, CancelAsked("ada"))
    assert rig.state(task) is TaskState.CANCELLING
    found = all_of(rig, task)
    assert whole(found)
    job = next(one for one in found if one.what == "job")
    assert job.sentence.startswith("waits for web-01 to say that all of it has ended; not confirmed at ")
    assert any(one.what == "message" and one.name == "cancel" for one in found)
    (spoke,) = {
        one.sentence for one in waiting.of_spoke(Spoke.get_by_id(web.id), rig.parts.clock_ms()) if one.what == "job"
    }
    assert spoke == job.sentence


def test_spokes_that_are_not_there_say_for_whom_they_wait(rig):
    rig.spoke("web-01")
    rig.spoke("web-02").start()
    with write_tx():
        Spoke.create(name="web-03", state=SpokeState.PENDING, sign_pk="0" * 64, sign_kid="1" * 32, box_pk="2" * 64)
    rig.engine.start()
    assert rig.spokes["web-02"].live.wait(30)
    found = until(lambda: (all_of := waiting.of_spokes(rig.parts.clock_ms())) and len(all_of) == 2 and all_of)
    assert [(one.name, one.owner) for one in found] == [
        ("web-01", "web-01"),
        ("web-03", "whoever may approve spokes"),
    ]
    assert found[0].sentence.startswith("web-01 is silent: never heard of yet")


def test_nothing_runs_for_an_engine_that_is_gone(rig):
    gate = Gate()
    web = rig.spoke("web-01", lambda _: Run(gate=gate)).start()
    rig.engine.start()
    task = rig.run("sleep 60", web)
    until(lambda: Job.get(Job.task == task.id).state is JobState.RUNNING)
    rig.engine.stop()
    rig.shift_ms = 7 * 86_400_000
    now_ms = rig.parts.clock_ms()
    assert task.id in waiting.unattended([task.id], now_ms)
    assert Task.select().where(waiting.is_unattended(now_ms)).count() == 1
    found = all_of(rig, task)
    assert found[0].owner == ENGINE
    assert all("nobody looks after it" in one.sentence for one in found if one.what in {"task", "job"})
    gate.set()

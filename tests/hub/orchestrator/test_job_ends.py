import tomllib
from dataclasses import replace
from pathlib import Path
from threading import Event as Gate

import pytest

from hub.orchestrator import task_log
from hub.orchestrator.events import CancelAsked
from hub.orchestrator.job_ends import end_of
from hub.states import JobState, TaskState
from hub.storage.models import Job
from tests.hub.orchestrator.rig import LIMITS, Rig, Run, until
from wire.messages import EndState, Result

CASES = tomllib.loads((Path(__file__).parent / "cases/job_ends.toml").read_text())["case"]
PLAIN = Result(EndState.SUCCEEDED, None, "", (), (), (), 0, None, 1, 2, 0, "0" * 64, "")


@pytest.fixture
def rig(installed_hub):
    made = Rig(installed_hub)
    yield made
    made.close()


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_table_of_ends(case):
    told = case["told"] | {
        "state": EndState(case["told"]["state"]),
        "survivors": tuple(case["told"].get("survivors", ())),
    }
    assert end_of(replace(PLAIN, **told)) == (JobState(case["state"]), case["message"])


def stopped(rig, *, mute=False, **run):
    """A run that is cancelled while it runs: its task, and its job."""
    gate = Gate()
    web = rig.spoke("web-01", lambda _: Run(gate=gate, **run)).start()
    web.mute_logs = mute
    rig.engine.start()
    task = rig.run("sleep 60", web)
    until(lambda: Job.get(Job.task == task.id).state is JobState.RUNNING)
    rig.engine.feed(task.id, CancelAsked("ada"))
    until(lambda: rig.state(task) not in {TaskState.RUNNING, TaskState.CANCELLING})
    return task, Job.get(Job.task == task.id)


def test_a_cancel_is_confirmed_with_the_number_of_processes_ended(rig):
    task, job = stopped(rig, ended=7)
    assert rig.state(task) is TaskState.CANCELLED
    assert (job.state, job.ended_processes, job.survivors) == (JobState.CANCELLED, 7, None)
    assert job.message == "ada asked to cancel; confirmed: 7 processes ended"
    lines, _ = task_log.read(rig.hub.vault, task.id)
    assert lines[-1].text == "the task was cancelled, confirmed: 7 processes ended"


def test_a_cancel_that_somebody_survived_is_not_confirmed_and_names_him(rig):
    task, job = stopped(rig, ended=1, survivors=("4711 java",))
    assert rig.state(task) is TaskState.UNKNOWN
    assert (job.state, job.ended_processes, job.survivors) == (JobState.UNKNOWN, 1, ["4711 java"])
    assert "not confirmed, still running: 4711 java" in job.message


def test_the_end_of_a_cancelled_job_does_not_wait_for_its_log(installed_hub):
    """Its lines never come; whoever cancelled hears of the end long before anybody gives them up."""
    rig = Rig(installed_hub, limits=replace(LIMITS, held_s=3600.0))
    try:
        task, job = stopped(rig, lines=("a line that never comes",), mute=True)
        assert (rig.state(task), job.records, job.log_next_record) == (TaskState.CANCELLED, 1, 0)
    finally:
        rig.close()

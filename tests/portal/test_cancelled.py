"""What people read of a cancel: at once for what is queued, confirmed with a number, or not confirmed with who goes on."""

from click.testing import CliRunner

from hub.cli.__main__ import manyarm
from hub.cli.client.task import _how_it_ended
from hub.states import JobState, TaskState
from hub.storage.database import connection, write_tx
from hub.storage.models import Job, Task, now_ms


def test_a_queued_task_is_cancelled_at_once_and_the_command_says_so(portal, ann, monkeypatch):
    task = portal.deploy()
    assert portal.api.get(f"/tasks/{task}").json["state"] == "queued"
    monkeypatch.setenv("MANYARM_API_KEY", portal.api.key)
    with portal.served() as address:
        done = CliRunner().invoke(manyarm, ["--url", address, "task", "cancel", task])
    assert (done.exit_code, done.output) == (0, f"task {task} cancelled, before it began\n")
    assert "Cancelled before it began." in ann.get(f"/tasks/{task}").text


def test_a_running_one_says_how_many_processes_were_ended(portal, ann):
    with connection(), write_tx():
        Job.update(state=JobState.CANCELLED, ended_processes=3).where(Job.task == portal.task).execute()
        ended = {"state": TaskState.CANCELLED, "started_at": now_ms(), "ended_at": now_ms()}
        Task.update(ended).where(Task.id == portal.task).execute()
        count = 3 * Job.select().where(Job.task == portal.task).count()
    words = f"confirmed: {count} processes ended"
    assert f"Cancelled, and {words}" in ann.get(f"/tasks/{portal.task}").text
    assert _how_it_ended(portal.api.get(f"/tasks/{portal.task}").json).endswith(f"cancelled, {words}")


def test_who_survived_is_named(portal, ann):
    with connection(), write_tx():
        job = Job.select().where(Job.task == portal.task).order_by(Job.step_index).first()
        Job.update(state=JobState.UNKNOWN, survivors=["4711 java"]).where(Job.id == job.id).execute()
        ended = {"state": TaskState.UNKNOWN, "failure": "Deploy web on web-1: still running: 4711 java"}
        Task.update(ended).where(Task.id == portal.task).execute()
    said = _how_it_ended(portal.api.get(f"/tasks/{portal.task}").json)
    assert said.endswith("unknown, not confirmed: still running: 4711 java on web-1")
    assert "4711 java" in ann.get(f"/tasks/{portal.task}").text

"""Old tasks give back their room; what an environment stands on, and what deployments say as rows, stays."""

import io

import pytest

from hub.infrastructure.artifact_intake import FILE_KIND
from hub.orchestrator import retention
from hub.orchestrator.retention import Kept, TakenBack
from hub.orchestrator.task_log import Lines, append, read
from hub.states import ArtifactState, TaskKind, TaskState
from hub.storage.database import write_tx
from hub.storage.files import FileStore
from hub.storage.models import (
    Artifact,
    Deployment,
    Environment,
    Event,
    Job,
    Lifecycle,
    LogBlock,
    Plan,
    Project,
    Release,
    Task,
)

DAY_MS = 86_400_000
NOW_MS = 2_000 * DAY_MS
KEPT = Kept(logs_ms=90 * DAY_MS, history_ms=365 * DAY_MS)


@pytest.fixture
def vault(installed_hub_on_each):
    return installed_hub_on_each.vault


@pytest.fixture
def files(vault, tmp_path):
    return FileStore(vault, tmp_path / "artifacts")


@pytest.fixture
def ended(vault, files):
    """Makes a task with a line, a plan and a file, that ended so many days ago."""

    def made(days, state=TaskState.SUCCEEDED, kind=TaskKind.SCRIPT_RUN):
        at = NOW_MS - days * DAY_MS
        with write_tx():
            task = Task.create(
                kind=kind,
                title="t",
                state=state,
                created_at=at,
                ended_at=at if state is not TaskState.RUNNING else None,
            )
            append(vault, [Lines(task.id, [at], ["info"], ["a line"])])
            Plan.create(task=task.id, body=b"plan", sha256="0" * 64)
            job = Job.create(task=task.id, step_index=0, step="s")
            artifact = Artifact.create(
                task=task.id, job=job.id, name="f", size=1, sha256="0" * 64, state=ArtifactState.STORED
            )
        files.write(FILE_KIND, artifact.id, io.BytesIO(b"x"))
        return task

    return made


@pytest.fixture
def deployed(ended):
    """Makes a deployment of one project to one environment."""
    with write_tx():
        lifecycle = Lifecycle.create(name="L", phases=[])
        project = Project.create(name="P", slug="p", lifecycle=lifecycle.id)
        environment = Environment.create(name="E")

    def made(days, state=TaskState.SUCCEEDED):
        task = ended(days, state, TaskKind.DEPLOYMENT)
        with write_tx():
            release = Release.create(
                project=project.id, version=f"1.{days}.0", snapshot=b"{}", snapshot_sha256="0" * 64
            )
            Deployment.create(
                task=task.id,
                project=project.id,
                release=release.id,
                environment=environment.id,
                created_at=task.created_at,
            )
        return task

    return made


def has_its_content(task):
    there = {
        LogBlock.select().where(LogBlock.task == task.id).exists(),
        Plan.select().where(Plan.task == task.id).exists(),
        Artifact.select().where(Artifact.task == task.id).exists(),
    }
    (answer,) = there
    return answer


def test_what_ended_long_ago_loses_log_plan_and_files_and_says_since_when(ended, files, vault):
    old, young = ended(91), ended(89)
    artifact = Artifact.get(Artifact.task == old.id)
    assert retention.sweep(files, KEPT, NOW_MS) == TakenBack(cleared=1)
    assert not has_its_content(old)
    assert has_its_content(young)
    assert not files.path_of(FILE_KIND, artifact.id).exists()
    row = Task.get_by_id(old.id)
    assert (row.cleared_at, row.log_lines, row.state) == (NOW_MS, 0, TaskState.SUCCEEDED)
    assert read(vault, old.id) == ([], None)
    assert Job.select().where(Job.task == old.id).exists()
    assert Event.select().where(Event.action == "tasks.cleared").count() == 1
    assert retention.sweep(files, KEPT, NOW_MS) == TakenBack()


def test_what_has_not_ended_is_never_touched(ended, files):
    running = ended(1_000, TaskState.RUNNING)
    assert retention.sweep(files, KEPT, NOW_MS) == TakenBack()
    assert has_its_content(running)


def test_what_an_environment_stands_on_keeps_everything(deployed, files):
    first, second, failed = deployed(500), deployed(400), deployed(300, TaskState.FAILED)
    assert retention.sweep(files, KEPT, NOW_MS) == TakenBack(cleared=1)
    assert [has_its_content(task) for task in (first, second, failed)] == [False, True, True]


def test_deployments_stay_as_rows_and_other_tasks_go_a_year_later(deployed, ended, files):
    old, new, _, young = deployed(900), deployed(800), ended(366), ended(364)
    assert retention.sweep(files, KEPT, NOW_MS) == TakenBack(cleared=3, removed=1)
    assert {task.id for task in Task.select()} == {old.id, new.id, young.id}


def test_more_than_a_transaction_takes_goes_in_several(ended, files, monkeypatch):
    monkeypatch.setattr(retention, "_AT_ONCE", 2)
    for _ in range(5):
        ended(100)
    assert retention.sweep(files, KEPT, NOW_MS) == TakenBack(cleared=5)


def test_a_file_that_a_crash_took_before_its_row_is_no_hindrance(ended, files):
    old = ended(100)
    files.remove(FILE_KIND, Artifact.get(Artifact.task == old.id).id)
    assert retention.sweep(files, KEPT, NOW_MS) == TakenBack(cleared=1)

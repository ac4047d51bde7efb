"""Whoever tidies up the hub's stores ends itself in the middle: what is used is there, and the next round does the rest."""

import io
import os
import signal
from collections.abc import Callable, Iterator

import pytest

from hub.infrastructure.artifact_intake import FILE_KIND
from hub.orchestrator import retention
from hub.orchestrator.retention import Kept, TakenBack
from hub.packages import garbage
from hub.packages.download import open_package
from hub.packages.feed import delete_version
from hub.states import ArtifactState, TaskKind, TaskState
from hub.storage.database import write_tx
from hub.storage.files import FileStore
from hub.storage.models import Artifact, Chunk, Job, Pack, Task
from hub.storage.models.table import database_proxy
from tests.crash.points import Row, trials
from tests.fakes.feed import Feed, noise, tar_of
from tests.fakes.installed_hub import InstalledHub, installed_hub
from wire.crash import CrashOrder


@pytest.fixture
def hub(tmp_path) -> Iterator[InstalledHub]:
    with installed_hub(tmp_path) as installed:
        yield installed


def cut_off(room: object, point: str, act: Callable[[], object]) -> None:
    """Do it in a process of its own, with a connection of its own, that ends itself there."""
    pid = os.fork()
    if pid == 0:
        database = database_proxy.obj
        parents = database.connection()
        database._state.reset()
        room.crash_point = CrashOrder(point)  # type: ignore[attr-defined]  # As if it had been told at its start.
        try:
            database.connect()
            act()
        finally:
            # Neither to pytest nor to what is the parent's.
            os._exit(0 if parents else 1)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL


@pytest.mark.parametrize("row", trials("garbage"))
def test_a_collection_that_is_cut_off_loses_no_chunk_in_use_and_the_next_one_ends_it(hub: InstalledHub, row: Row):
    feed, shared = Feed(hub), tar_of(shared=noise(300_000, seed=3))
    gone = feed.push("app.1.0.0.tar", tar_of(big=noise(2_000_000), shared=noise(300_000, seed=3)))
    used = feed.push("app.1.0.1.tar", shared)
    alone = feed.push("other.1.0.0.tar", tar_of(other=noise(200_000, seed=5)))
    with write_tx():
        delete_version(hub.acting(), gone.id)
        delete_version(hub.acting(), alone.id)
    now_ms = hub.acting().now_ms + 1_000
    cut_off(garbage, row.point, lambda: garbage.collect(feed.store, now_ms, grace_s=0))
    assert b"".join(open_package(feed.store, hub.portal, used)) == shared
    # What the one that was cut off has left is old by then.
    garbage.collect(feed.store, now_ms + 10_000, grace_s=-5)
    assert b"".join(open_package(feed.store, hub.portal, used)) == shared
    assert sum(feed.store.folder.sizes().values()) < 500_000
    assert sorted(feed.files()) == sorted(pack.id for pack in Pack.select())
    assert {pack for (pack,) in Chunk.select(Chunk.pack).tuples()} <= set(feed.files())


@pytest.mark.parametrize("row", trials("retention"))
def test_taking_back_an_old_task_that_is_cut_off_is_done_by_the_next_round(hub: InstalledHub, row: Row):
    files = FileStore(hub.engine, hub.home / "artifacts")
    with write_tx():
        ended = {
            "kind": TaskKind.SCRIPT_RUN,
            "title": "t",
            "state": TaskState.SUCCEEDED,
            "created_at": 1,
            "ended_at": 1,
        }
        task = Task.create(**ended)
        job = Job.create(task=task.id, step_index=0, step="s")
        artifact = Artifact.create(
            task=task.id, job=job.id, name="f", size=1, sha256="0" * 64, state=ArtifactState.STORED
        )
    files.write(FILE_KIND, artifact.id, io.BytesIO(b"x"))
    kept, now_ms = Kept(logs_ms=10, history_ms=10_000), 1_000
    cut_off(retention, row.point, lambda: retention.sweep(files, kept, now_ms))
    assert Task.get_by_id(task.id).cleared_at is None
    assert retention.sweep(files, kept, now_ms) == TakenBack(cleared=1)
    assert not Artifact.select().exists()
    assert not files.path_of(FILE_KIND, artifact.id).exists()

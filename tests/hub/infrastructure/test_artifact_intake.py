"""Artifacts from the gateway's folder to the hub's own."""

import errno
import hashlib
import io

import pytest

from hub.infrastructure.artifact_intake import FILE_KIND, ArtifactIntake, IntakeParts
from hub.states import Approval, ArtifactState, InboxKind, TaskKind, TaskState
from hub.storage.files import FileStore
from hub.storage.models import Artifact, GatewayInbox, Job, Spoke, Task
from tests.fakes.enrolling import Machine
from wire.chunks_artifact import seal_artifact
from wire.keys import new_id

CONTENT = b"report " * 50_000


class Intake:
    """One spoke with one ended job."""

    def __init__(self, hub, enrolling) -> None:
        enrolling.take(Machine(hub).frame(enrolling.code(approve=Approval.AUTO)))
        self.hub = hub
        self.spoke = Spoke.get().id
        self.now_ms = enrolling.now_ms
        self.files = FileStore(hub.engine, hub.home / "artifacts")
        self.incoming = hub.home / "incoming"
        self.incoming.mkdir()
        self.intake = ArtifactIntake(IntakeParts(self.files, self.incoming, lambda: hub.boxes, lambda: self.now_ms))
        task = Task.create(kind=TaskKind.SCRIPT_RUN, title="x", state=TaskState.SUCCEEDED)
        self.job = Job.create(**{name: value for name, value in self._columns(task).items() if hasattr(Job, name)})

    def _columns(self, task) -> dict[str, object]:
        return {
            "task": task.id, "step_index": 0, "step": "s", "target": None, "target_name": "web-1",
            "spoke": self.spoke, "state": "succeeded", "attempt": 1, "cid": new_id(),
        }  # fmt: skip

    def announce(self, content: bytes = CONTENT) -> Artifact:
        return Artifact.create(
            task=self.job.task, job=self.job.id, name="r", size=len(content), sha256=hashlib.sha256(content).hexdigest()
        )

    def bring(self, artifact: str, content: bytes = CONTENT, *, spoke: str = "", context: str = "") -> str:
        name = new_id()
        sealed = seal_artifact(io.BytesIO(content), self.hub.boxes[0].public, context or artifact)
        (self.incoming / name).write_bytes(b"".join(sealed))
        detail = {"spoke": spoke or self.spoke, "job": self.job.id, "artifact": artifact}
        GatewayInbox.create(
            kind=InboxKind.ARTIFACT,
            sha256="0" * 64,
            path=name,
            detail=detail,
            received_at=self.now_ms,
            source=self.spoke,
        )
        return name


@pytest.fixture
def intake(hub, enrolling) -> Intake:
    return Intake(hub, enrolling)


def test_an_announced_artifact_is_stored_sealed(intake):
    artifact = intake.announce()
    intake.bring(artifact.id)
    assert intake.intake.sweep() == 1
    assert Artifact.get().state == ArtifactState.STORED
    assert b"".join(intake.files.open(FILE_KIND, artifact.id)) == CONTENT
    assert list(intake.incoming.iterdir()) == []
    assert GatewayInbox.select().count() == 0
    held = b"".join(path.read_bytes() for path in (intake.hub.home / "artifacts").rglob("*") if path.is_file())
    assert b"report report" not in held


def test_artifacts_that_nobody_announced_hold_up_no_others(intake):
    for _ in range(50):
        intake.bring(new_id())
    intake.now_ms += 1
    artifact = intake.announce()
    intake.bring(artifact.id)
    assert sum(intake.intake.sweep() for _ in range(4)) == 1
    later = intake.announce()
    intake.bring(later.id)
    assert sum(intake.intake.sweep() for _ in range(4)) == 1
    assert GatewayInbox.select().count() == 50


class FullDisk(FileStore):
    """Takes nothing as long as it is full."""

    full = True

    def write(self, *given):
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(*given)


def test_a_full_disk_loses_no_artifact(intake):
    disk = FullDisk(intake.hub.engine, intake.hub.home / "artifacts")
    sweeping = ArtifactIntake(IntakeParts(disk, intake.incoming, lambda: intake.hub.boxes, lambda: intake.now_ms))
    artifact = intake.announce()
    intake.bring(artifact.id)
    assert sweeping.sweep() == 0
    assert Artifact.get().state == ArtifactState.EXPECTED
    disk.full = False
    intake.now_ms += 60_000
    assert sweeping.sweep() == 1
    assert b"".join(disk.open(FILE_KIND, artifact.id)) == CONTENT


def test_an_artifact_waits_for_its_result_but_not_for_ever(intake):
    intake.bring(new_id())
    assert intake.intake.sweep() == 0
    assert len(list(intake.incoming.iterdir())) == 1
    intake.now_ms += 25 * 3600 * 1000
    assert intake.intake.sweep() == 1
    assert list(intake.incoming.iterdir()) == []


@pytest.mark.parametrize("lie", ["content", "context", "bytes", "missing"])
def test_an_artifact_that_is_not_what_the_result_says_is_refused(intake, lie):
    artifact = intake.announce()
    name = intake.bring(
        artifact.id, CONTENT + b"x" if lie == "content" else CONTENT, context=new_id() if lie == "context" else ""
    )
    path = intake.incoming / name
    if lie == "bytes":
        path.write_bytes(path.read_bytes()[:-1])
    if lie == "missing":
        path.unlink()
    intake.intake.sweep()
    assert Artifact.get().state == ArtifactState.REFUSED
    assert not intake.files.path_of(FILE_KIND, artifact.id).exists()
    assert list(intake.incoming.iterdir()) == []


def test_another_spoke_cannot_fill_an_artifact(intake, hub, enrolling):
    artifact = intake.announce()
    intake.bring(artifact.id, spoke="f" * 32)
    assert intake.intake.sweep() == 0
    assert Artifact.get().state == ArtifactState.EXPECTED

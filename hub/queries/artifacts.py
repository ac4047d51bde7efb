"""Files that scripts brought back, of tasks that the caller may see."""

from hub.access.caller import Caller
from hub.errors import NotFound
from hub.operations.body import Reply
from hub.queries import tasks
from hub.queries.listing import Order, Page, Slice, page, time_text
from hub.states import ArtifactState
from hub.storage.models import Artifact

FILE_KIND = "artifact"


class ArtifactView(Reply):
    """`stored` false: it was announced and has not arrived."""

    id: str
    task: str
    name: str
    size: int
    sha256: str
    stored: bool
    created_at: str


def artifacts(caller: Caller, task_id: str, part: Slice) -> Page[ArtifactView]:
    row = tasks.row_of(caller, task_id)
    query = Artifact.select().where(Artifact.task == row.id)
    return page(query, Order(Artifact.created_at, Artifact.id), part, view)


def artifact(caller: Caller, artifact_id: str) -> ArtifactView:
    """One that is there.

    Raises:
        NotFound: in the same words for a foreign one.
    """
    row = Artifact.get_or_none((Artifact.id == artifact_id) & (Artifact.state == ArtifactState.STORED))
    if row is None:
        raise NotFound(f"no artifact {artifact_id!r}")
    try:
        tasks.row_of(caller, row.task)
    except NotFound:
        raise NotFound(f"no artifact {artifact_id!r}") from None
    return view(row)


def view(row: Artifact) -> ArtifactView:
    return ArtifactView(
        id=row.id,
        task=row.task,
        name=row.name,
        size=row.size,
        sha256=row.sha256,
        stored=row.state is ArtifactState.STORED,
        created_at=time_text(row.created_at),
    )

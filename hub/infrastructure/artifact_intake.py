"""Artifacts, the engine's side: opens what spokes have brought to the gateway, if a signed result announced it.

gateway: incoming/<ours>, unopened  >  here: opened, compared with the result  >  artifacts/, sealed at rest
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hub.packages.errors import NoSpace, raising_no_space
from hub.states import ArtifactState, InboxKind, InboxState
from hub.storage.database import connection, write_tx
from hub.storage.files import FileStore
from hub.storage.models import Artifact, GatewayInbox, Job
from wire.chunks_artifact import open_artifact
from wire.crash import crash_point
from wire.errors import Refused
from wire.keys import BoxKey

logger = logging.getLogger(__name__)

FILE_KIND = "artifact"
_BATCH = 20
_START = (0, "")
_FULL_PAUSE_MS = 10_000
# A result follows its artifacts within moments; a spoke that was cut off brings both again.
_UNCLAIMED_MS = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class IntakeParts:
    """What the intake needs of the engine.

    Attributes:
        files: Where artifacts lie, sealed at rest.
        incoming: The gateway's folder.
    """

    files: FileStore
    incoming: Path
    boxes: Callable[[], Sequence[BoxKey]]
    clock_ms: Callable[[], int]


class ArtifactIntake:
    """One thread calls `sweep`."""

    def __init__(self, parts: IntakeParts) -> None:
        self._parts = parts
        self._looked_at = _START
        self._not_before_ms = 0

    def sweep(self) -> int:
        """Take what has been announced and brought, of the next few that wait; how many that were."""
        now_ms = self._parts.clock_ms()
        if now_ms < self._not_before_ms:
            return 0
        try:
            with connection():
                return sum(1 for row in self._next_few() if self._take(row))
        except NoSpace:
            self._not_before_ms = now_ms + _FULL_PAUSE_MS
            logger.error("disk is full; artifacts wait", extra={"next_try_s": _FULL_PAUSE_MS // 1000})  # noqa: TRY400  The sentence says all.
            return 0

    def _next_few(self) -> list[GatewayInbox]:
        """Round and round: what nobody has announced must not stand before what somebody has."""
        at, row_id = self._looked_at
        here = GatewayInbox.received_at
        waiting = GatewayInbox.select().where(
            GatewayInbox.kind == InboxKind.ARTIFACT,
            GatewayInbox.state == InboxState.NEW,
            (here > at) | ((here == at) & (GatewayInbox.id > row_id)),
        )
        rows = list(waiting.order_by(here, GatewayInbox.id).limit(_BATCH))
        self._looked_at = (rows[-1].received_at, rows[-1].id) if len(rows) == _BATCH else _START
        return rows

    def _take(self, row: GatewayInbox) -> bool:
        artifact = _announced(row)
        if artifact is None:
            return self._parts.clock_ms() - row.received_at > _UNCLAIMED_MS and self._finish(row, None)
        return self._finish(row, self._stored(row, artifact))

    def _stored(self, row: GatewayInbox, artifact: Artifact) -> Artifact:
        """The artifact with its end: stored as the result describes it, or refused and gone."""
        try:
            with raising_no_space(), self._sealed(row).open("rb") as sealed:
                found = self._parts.files.write(
                    FILE_KIND, artifact.id, open_artifact(sealed, self._parts.boxes(), artifact.id)
                )
            sound = (found.size, found.sha256) == (artifact.size, artifact.sha256)
        except (Refused, OSError) as error:
            logger.warning("artifact cannot be opened", extra={"artifact": artifact.id, "reason": str(error)})
            sound = False
        if not sound:
            self._parts.files.remove(FILE_KIND, artifact.id)
        artifact.state = ArtifactState.STORED if sound else ArtifactState.REFUSED
        crash_point("artifact.opened")
        return artifact

    def _sealed(self, row: GatewayInbox) -> Path:
        return self._parts.incoming / str(row.path)

    def _finish(self, row: GatewayInbox, artifact: Artifact | None) -> bool:
        with write_tx():
            if artifact is not None:
                artifact.save(only=[Artifact.state])
            row.delete_instance()
        crash_point("artifact.taken")
        self._sealed(row).unlink(missing_ok=True)
        logger.info("artifact taken", extra={"artifact": row.detail.get("artifact"), "stored": artifact is not None})
        return True


def _announced(row: GatewayInbox) -> Artifact | None:
    """The artifact that a result of this very spoke has announced, and that has no end yet."""
    artifact: Artifact | None = (
        Artifact.select()
        .join(Job, on=Artifact.job == Job.id)
        .where(
            Artifact.id == row.detail["artifact"],
            Job.spoke == row.detail["spoke"],
            Artifact.state == ArtifactState.EXPECTED,
        )
        .first()
    )
    return artifact

"""Artifacts, in: sealed to the hub's box by the spoke, kept here unopened until the engine takes them."""

import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from flask import Blueprint, Response, jsonify, request

from hub.errors import Invalid
from hub.gateway.capabilities import presented
from hub.gateway.parts import GatewayParts
from hub.packages.errors import UploadTruncated, raising_no_space
from hub.packages.incoming import Counted
from hub.states import InboxKind
from hub.storage.database import write_tx
from hub.storage.models import GatewayInbox
from hub.storage.models.table import new_row_id
from wire.crash import crash_point
from wire.errors import Code, Refused

_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_PIECE = 256 * 1024


def routes(parts: GatewayParts) -> Blueprint:
    """Needs a capability that the engine gave to a trusted spoke."""
    here = Blueprint("artifacts", __name__)

    def artifact(artifact_id: str) -> tuple[Response, int]:
        request.max_content_length = parts.limits.artifact_bytes
        capability = presented(parts)
        if not capability.job:
            raise Refused(Code.ENV_POLICY, "the capability is for no run")
        if not _ID.fullmatch(artifact_id):
            raise Invalid("expected 32 lowercase hexadecimal characters", field="artifact")
        name = new_row_id()
        size, sha256 = _store(parts, name)
        crash_point("gateway.artifact-stored")
        detail = {"spoke": capability.spoke, "job": capability.job, "artifact": artifact_id}
        status = _record(parts, name, size, sha256, detail)
        crash_point("gateway.artifact-recorded")
        parts.wake_engine()
        return jsonify({"id": artifact_id, "size": size, "sha256": sha256}), status

    here.put("/gateway/v1/artifacts/<artifact_id>")(artifact)
    return here


def _store(parts: GatewayParts, name: str) -> tuple[int, str]:
    """Size and SHA-256 of the bytes as they lie in the file now; nothing is left where they did not all come."""
    body = Counted(
        request.stream, limit=parts.limits.artifact_bytes, length=request.content_length, clock=time.monotonic
    )
    parts.artifacts.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = parts.artifacts / name
    digest = hashlib.sha256()
    try:
        with raising_no_space(), _private(path) as file:
            while piece := body.read(_PIECE):
                digest.update(piece)
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        if not body.count:
            raise UploadTruncated("an artifact has at least its seal; nothing came")
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return body.count, digest.hexdigest()


def _record(parts: GatewayParts, name: str, size: int, sha256: str, detail: dict[str, str]) -> int:
    """201, or 200 where this replaces what the spoke sent before: it seals anew each time it tries."""
    with write_tx():
        before = _known(detail)
        if before is not None:
            before.delete_instance()
        GatewayInbox.create(
            kind=InboxKind.ARTIFACT,
            sha256=sha256,
            path=name,
            size=size,
            source=detail["spoke"],
            detail=detail,
            received_at=parts.clock_ms(),
        )
    if before is None:
        return 201
    (parts.artifacts / str(before.path)).unlink(missing_ok=True)
    return 200


def _known(detail: dict[str, str]) -> GatewayInbox | None:
    rows = GatewayInbox.select().where(GatewayInbox.kind == InboxKind.ARTIFACT, GatewayInbox.source == detail["spoke"])
    return next((row for row in rows if row.detail == detail), None)


@contextmanager
def _private(path: Path) -> Iterator[BinaryIO]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        yield file

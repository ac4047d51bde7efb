"""Packages, as operations: the bytes are here already (hub/packages/ingest.py), these say which version they are."""

from typing import Annotated

from pydantic import Field, StringConstraints

from hub.operations.body import Body, Nothing, Reply
from hub.operations.context import Context
from hub.operations.operation import Done, Operation
from hub.packages import feed
from hub.permissions import Permission

Hex = Annotated[str, StringConstraints(max_length=4096, pattern=r"^([0-9a-f]{2})*$")]
PackageName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
VersionText = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class PushComplete(Body):
    """`chunks_new` and `bytes_new` are said again in the answer, so that a repeated request has the same one."""

    package: PackageName
    version: VersionText
    extension: Annotated[str, StringConstraints(min_length=1, max_length=16)]
    manifest_id: Annotated[str, StringConstraints(max_length=64, pattern=r"^[0-9a-f]+$")]
    manifest_sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    manifest_key_sealed: Hex
    chunks_new: Annotated[int, Field(ge=0)] = 0
    bytes_new: Annotated[int, Field(ge=0)] = 0


class PackagePushed(Reply):
    """`chunks_new` and `bytes_new`: what the hub did not have yet."""

    id: str
    version: str
    size: int
    sha256: str
    chunks_new: int
    bytes_new: int


class DeleteVersion(Body):
    package: PackageName
    version: VersionText


def _push_complete(context: Context, body: PushComplete) -> Done:
    said = body.model_dump(exclude={"chunks_new", "bytes_new"})
    row, created = feed.push_complete(context, feed.PushComplete(**said))
    return Done(
        PackagePushed(
            id=body.package,
            version=row.version,
            size=row.size,
            sha256=row.sha256,
            chunks_new=body.chunks_new,
            bytes_new=body.bytes_new,
        ),
        f"package-version:{row.id}",
        detail={"package": body.package, "version": row.version, "sha256": row.sha256, "new": created},
        status=201 if created else 200,
    )


def _delete(context: Context, body: DeleteVersion) -> Done:
    row = feed.delete_version(context, feed.find(body.package, body.version).id)
    return Done(Nothing(), f"package-version:{row.id}", detail={"package": body.package, "version": row.version})


OPERATIONS = (
    Operation(
        "package.push-complete",
        "Make a version of what was uploaded",
        PushComplete,
        PackagePushed,
        Permission.PACKAGE_PUSH,
        _push_complete,
        status=201,
    ),
    Operation(
        "package.delete",
        "Remove a version that no release names",
        DeleteVersion,
        Nothing,
        Permission.PACKAGE_DELETE,
        _delete,
        status=204,
    ),
)

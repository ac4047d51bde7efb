"""`/artifacts`: files that scripts brought back; always a download, never shown."""

from urllib.parse import quote

from flask import Response

from hub.api.query_string import ListQuery
from hub.api.route import Call, Resource
from hub.permissions import Permission
from hub.queries import artifacts as queries
from hub.queries.artifacts import ArtifactView
from hub.queries.listing import Page

RESOURCE = Resource("artifacts")


@RESOURCE.get(
    "/tasks/<task>/artifacts", Page[ArtifactView], Permission.TASK_VIEW, "What a task brought back", query=ListQuery
)
def list_all(call: Call, task: str) -> Page[ArtifactView]:
    return queries.artifacts(call.caller, task, call.query.slice)


@RESOURCE.get("/artifacts/<artifact>", None, Permission.TASK_VIEW, "One file", media_type="application/octet-stream")
def download(call: Call, artifact: str) -> Response:
    found = queries.artifact(call.caller, artifact)
    response = Response(call.parts.artifacts.open(queries.FILE_KIND, found.id), content_type="application/octet-stream")
    response.headers["Content-Disposition"] = disposition(found.name)
    return response


def disposition(name: str) -> str:
    """One safe header for whatever a file is called (RFC 6266)."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._- ") else "_" for c in name)[:100] or "file"
    exact = quote(name.encode("utf-8", "replace")[:600], safe="")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}"

"""Entity tags: the version of what was read, so that a lost update is noticed (412) and not made."""

import re
from typing import Any

from flask import Request, Response, request
from pydantic import BaseModel

from hub.api.problems import PreconditionRequired
from hub.errors import Invalid

_TAG = re.compile(r'"([1-9][0-9]{0,8})"')
ANY_VERSION = 0


def answer(found: BaseModel, status: int) -> Response:
    """A model as JSON, with its tag where it has a version; 304 where the client has it already."""
    response = Response(found.model_dump_json(by_alias=True), status, content_type="application/json")
    version = getattr(found, "version", None)
    if isinstance(version, int):
        tag(response, {"version": version})
        response.make_conditional(request)
    return response


def tag(response: Response, body: dict[str, Any]) -> None:
    version = body.get("version")
    if isinstance(version, int):
        response.set_etag(str(version))


def wanted_version(present: Request) -> int:
    """The version in If-Match; `*` says "whatever is there".

    Raises:
        PreconditionRequired: no If-Match. Invalid: not one tag that we gave.
    """
    text = present.headers.get("If-Match")
    if text is None:
        raise PreconditionRequired('an update needs If-Match with the ETag that was read, or "*" for any')
    if text.strip() in {"*", '"*"'}:
        return ANY_VERSION
    found = _TAG.fullmatch(text.strip())
    if found is None:
        raise Invalid('expected If-Match to be one ETag, such as "7"', field="If-Match")
    return int(found.group(1))

"""Reads what a request brings: its body, its query string, its Idempotency-Key; strictly, and with limits first."""

import re
from collections.abc import Collection, Iterable
from typing import Any, TypeVar

from flask import request
from pydantic import ValidationError

from hub.api.problems import UnsupportedMediaType
from hub.api.query_string import Query
from hub.api.strict_json import NotStrictJson, check_text, parse
from hub.api.unpacking import Readable, Unpacked
from hub.errors import Invalid, NotFound, TooLarge
from hub.operations.operation import sentence_of

Q = TypeVar("Q", bound=Query)
JsonObject = dict[str, Any]

_KEY = re.compile(r"[!-~]{1,100}")
_JSON_TYPE = re.compile(r"application/json(?:\s*;\s*charset=utf-8)?", re.IGNORECASE)
_PARAMETERS_MAX = 50
_PATH_PART_MAX = 200


def query(model: type[Q]) -> Q:
    """The query string as a model.

    Raises:
        Invalid: unknown, twice, or not what the name takes.
    """
    if request.query_string.count(b"&") >= _PARAMETERS_MAX:
        raise Invalid(f"more than {_PARAMETERS_MAX} parameters")
    given: dict[str, str] = {}
    for name, values in request.args.lists():
        if len(values) != 1:
            raise Invalid("stands twice in the address", field=name[:80])
        given[name] = values[0]
    try:
        check_text(given)
        return model.model_validate(given)
    except NotStrictJson as error:
        raise Invalid(str(error), field=error.field[:80]) from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        raise Invalid(sentence_of(first), field=".".join(str(part) for part in first["loc"])[:80]) from None


def check_path(values: Iterable[str]) -> None:
    """Raise NotFound for what no name or id of ours can be; PostgreSQL would choke on a NUL, SQLite would store it."""
    if any(len(value) > _PATH_PART_MAX or not value.isprintable() for value in values):
        raise NotFound("there is nothing at this address")


def json_body(limit: int, reserved: Collection[str] = ()) -> JsonObject:
    """The body as a JSON object; an absent body is an empty object.

    Args:
        limit: Bytes.
        reserved: Names that the address or a header says already: a body that says them again is refused.

    Raises:
        UnsupportedMediaType, TooLarge, Invalid.
    """
    content = bounded_body(limit)
    kind = request.headers.get("Content-Type", "")
    if not content and not kind:
        return {}
    if _JSON_TYPE.fullmatch(kind) is None:
        raise UnsupportedMediaType("expected Content-Type: application/json")
    if not content:
        return {}
    try:
        found = parse(content)
    except NotStrictJson as error:
        raise Invalid(str(error), field=error.field[:200] or None) from error
    for name in found:
        if name in reserved:
            raise Invalid("nobody knows this field", field=name)
    return found


def bounded_body(limit: int) -> bytes:
    """All of the body, or TooLarge; never more than the limit in memory."""
    stream, length = body()
    if length is not None and length > limit:
        raise TooLarge(f"a body here is at most {limit} bytes")
    content = stream.read(limit + 1)
    if len(content) > limit:
        raise TooLarge(f"a body here is at most {limit} bytes")
    return content


def body() -> tuple[Readable, int | None]:
    """The body as it is meant, and its length where that is known: one that was packed shows it at its end.

    Raises:
        UnsupportedMediaType: packed in another way than gzip.
    """
    packed = request.headers.get("Content-Encoding", "identity").strip().lower()
    if packed == "gzip":
        return Unpacked(request.stream), None
    if packed not in {"identity", ""}:
        raise UnsupportedMediaType("expected Content-Encoding: gzip, or none")
    return request.stream, request.content_length


def idempotency_key() -> str:
    """The Idempotency-Key, "" where there is none."""
    text = request.headers.get("Idempotency-Key")
    if text is None:
        return ""
    if _KEY.fullmatch(text) is None:
        raise Invalid("expected 1 to 100 printable characters", field="Idempotency-Key")
    return text

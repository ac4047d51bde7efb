"""PURE. Reads a request's JSON as an enemy would write it: what two readers could understand in two ways is refused.

`json.loads` keeps the last of two equal keys, takes NaN, 1e999 and lone surrogates (security.md F8); SQLite stores a
NUL that PostgreSQL refuses. A number that does not survive in every client is refused as well.
"""

import json
import re
from typing import Any, NoReturn

JsonObject = dict[str, Any]

# Inside an intent it stands two levels deeper, and wire/canonical.py takes 32.
MAX_DEPTH = 24
# JavaScript's Number holds integers up to here exactly; a larger one would come back as another.
MAX_INTEGER = 2**53 - 1
_MAX_NUMBER_LENGTH = 32
_OUTSIDE_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)


class NotStrictJson(ValueError):
    """Says what was found and what was expected; `field` is the key at fault, as far as it is known."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


def parse(body: bytes) -> JsonObject:
    """One JSON object in UTF-8, no deeper than MAX_DEPTH.

    Raises:
        NotStrictJson: anything else, a byte-order mark included.
    """
    _check_depth(body)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotStrictJson(f"the body is not UTF-8 at byte {error.start}") from error
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_no_fraction,
            parse_int=_exact,
        )
    except json.JSONDecodeError as error:
        raise NotStrictJson(
            f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from error
    if not isinstance(value, dict):
        raise NotStrictJson("the body is not a JSON object")
    check_text(value)
    return value


def check_text(value: object, field: str = "") -> None:
    """Refuse NUL and lone surrogates in every string and key of a JSON value.

    Raises:
        NotStrictJson: one was found; `field` says where.
    """
    if isinstance(value, str):
        if "\0" in value:
            raise NotStrictJson("a text holds a NUL character", field)
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise NotStrictJson("a text holds half of a surrogate pair", field)
    elif isinstance(value, dict):
        for key, item in value.items():
            check_text(key, field)
            check_text(item, f"{field}.{key}" if field else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            check_text(item, f"{field}.{index}")


def _check_depth(body: bytes) -> None:
    # Counted before parsing: the parser itself recurses.
    depth = 0
    for found in _OUTSIDE_STRINGS.finditer(body):
        first = found.group()[0:1]
        if first in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise NotStrictJson(f"the body is nested deeper than {MAX_DEPTH}")
        elif first in b"]}":
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> JsonObject:
    found: JsonObject = {}
    for key, value in pairs:
        if key in found:
            raise NotStrictJson("a field stands twice in one object", key)
        found[key] = value
    return found


def _no_constant(name: str) -> NoReturn:
    raise NotStrictJson(f"{name} is not a JSON number")


def _no_fraction(text: str) -> NoReturn:
    # No field of ours takes one, and canonical JSON (wire/canonical.py) has none.
    raise NotStrictJson(f"{text[:_MAX_NUMBER_LENGTH]} is no whole number; there are no others here")


def _exact(text: str) -> int:
    # The length is judged first: int() of a long text is slow, and past 4,300 digits an error of its own.
    value = int(text) if len(text) <= _MAX_NUMBER_LENGTH else MAX_INTEGER + 1
    if abs(value) > MAX_INTEGER:
        raise NotStrictJson(f"a whole number is beyond ±{MAX_INTEGER}")
    return value

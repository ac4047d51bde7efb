"""The one JSON form that travels: ASCII, sorted keys, no spaces, integers and texts, no second spelling.

`decode` accepts a value only if `encode` gives the very same bytes back. PURE.
"""

import json
import re
from collections import Counter
from typing import NoReturn

from wire.errors import Code, Refused, excerpt

JsonValue = None | bool | int | str | list["JsonValue"] | dict[str, "JsonValue"]
JsonObject = dict[str, JsonValue]

INTEGER_MAX = 2**53 - 1
INTEGER_DIGITS_MAX = 16
DEPTH_MAX = 32

# A text that never ends is taken to the end of the bytes: so the scan is linear whatever comes.
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*\\?(?:"|\Z)|[\[{]|[\]}]', re.DOTALL)


def encode(value: JsonValue) -> bytes:
    """The canonical bytes of a value.

    Raises:
        Refused: ENV_FLOAT for a float; ENV_SCHEMA for what JSON cannot hold or we do not send.
    """
    # What we would refuse we do not send.
    _must_travel(value, 0)
    try:
        return _ENCODER.encode(value).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise Refused(Code.ENV_SCHEMA, "a value that is not JSON") from error


def decode(data: bytes, malformed: Code = Code.ENV_SCHEMA) -> JsonValue:
    """The value of canonical bytes.

    Args:
        data: What was received, bounded by the caller.
        malformed: The code for bytes that are not canonical JSON.

    Raises:
        Refused: ENV_DUPKEY, ENV_FLOAT, or `malformed`.
    """
    _refuse_depth(data, malformed)
    try:
        value: JsonValue = _DECODER.decode(data.decode("ascii"))
        written = _ENCODER.encode(value).encode("ascii")
        if b"\\ud" in written:
            _refuse_lone_surrogates(value)
    except Refused:
        raise
    except (ValueError, RecursionError) as error:
        raise Refused(malformed, "not canonical JSON") from error
    if written != data:
        raise Refused(malformed, "not canonical JSON: it has another spelling")
    return value


def _must_travel(value: object, depth: int) -> None:
    """Refuse what `decode` would, without writing and reading it."""
    if isinstance(value, str):
        if not value.isascii():
            _must_be_whole(value)
    elif isinstance(value, dict):
        _must_not_nest(depth)
        for name, member in value.items():
            if not isinstance(name, str):
                raise Refused(Code.ENV_SCHEMA, "a name that is no text")
            if not name.isascii():
                _must_be_whole(name)
            # Most members are plain texts: a call for each would be a tenth of what a small message costs.
            if type(member) is not str or not member.isascii():
                _must_travel(member, depth + 1)
    elif isinstance(value, list | tuple):
        _must_not_nest(depth)
        for member in value:
            _must_travel(member, depth + 1)
    elif isinstance(value, float):
        raise Refused(Code.ENV_FLOAT, "a number with a fraction, NaN or infinity")
    elif isinstance(value, int) and abs(value) > INTEGER_MAX:
        raise Refused(Code.ENV_SCHEMA, "an integer beyond 2^53-1")


def _must_be_whole(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Refused(Code.ENV_SCHEMA, "half of a surrogate pair") from error


def _must_not_nest(depth: int) -> None:
    # A value inside itself ends here too.
    if depth >= DEPTH_MAX:
        raise Refused(Code.ENV_SCHEMA, f"nested deeper than {DEPTH_MAX}")


def _refuse_depth(data: bytes, malformed: Code) -> None:
    if data.count(b"[") + data.count(b"{") <= DEPTH_MAX:
        return
    depth = 0
    for token in _BRACKETS.finditer(data):
        first = data[token.start()]
        if first in b"[{":
            depth += 1
            if depth > DEPTH_MAX:
                raise Refused(malformed, f"nested deeper than {DEPTH_MAX}")
        elif first in b"]}":
            depth -= 1


def _refuse_lone_surrogates(value: JsonValue) -> None:
    json.dumps(value, ensure_ascii=False).encode("utf-8")


def _without_repeats(pairs: list[tuple[str, JsonValue]]) -> JsonObject:
    made = dict(pairs)
    if len(made) != len(pairs):
        counted = Counter(name for name, _ in pairs)
        raise Refused(Code.ENV_DUPKEY, excerpt(counted.most_common(1)[0][0]))
    return made


def _integer(text: str) -> int:
    if len(text) > INTEGER_DIGITS_MAX + 1 or abs(int(text)) > INTEGER_MAX:
        raise Refused(Code.ENV_SCHEMA, "an integer beyond 2^53-1")
    return int(text)


def _no_float(text: str) -> NoReturn:
    raise Refused(Code.ENV_FLOAT, excerpt(text))


_DECODER = json.JSONDecoder(
    object_pairs_hook=_without_repeats, parse_int=_integer, parse_float=_no_float, parse_constant=_no_float
)
_ENCODER = json.JSONEncoder(ensure_ascii=True, allow_nan=False, sort_keys=True, separators=(",", ":"))

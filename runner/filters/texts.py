"""Filters that cut, join and turn text."""

from __future__ import annotations

import base64
import binascii
from typing import Tuple

from runner.filters.call import MANY, Call, Filter, Refused

_INDENT_MAX = 255


def to_lower(call: Call) -> str:
    return call.value.lower()


def to_upper(call: Call) -> str:
    return call.value.upper()


def to_base64(call: Call) -> str:
    return base64.b64encode(call.value.encode(_encoding(call), "surrogateescape")).decode("ascii")


def from_base64(call: Call) -> str:
    try:
        return base64.b64decode("".join(call.value.split()), validate=True).decode(_encoding(call))
    except (binascii.Error, ValueError) as error:
        raise Refused("the text is no base64 of such a text") from error


def _encoding(call: Call) -> str:
    name = call.option(0, "utf8").lower()
    if name not in {"utf8", "utf-8", "unicode"}:
        raise Refused("there is no such encoding; it takes utf8 and unicode")
    return "utf-16-le" if name == "unicode" else "utf-8"


def append(call: Call) -> str:
    return call.value + "".join(call.options)


def prepend(call: Call) -> str:
    return "".join(call.options) + call.value


def truncate(call: Call) -> str:
    length = call.number(0)
    return call.value[:length] + "..." if length < len(call.value) else call.value


def substring(call: Call) -> str:
    """`Substring LENGTH` or `Substring START LENGTH`."""
    start = call.number(0) if len(call.options) == 2 else 0
    length = call.number(len(call.options) - 1)
    if start + length > len(call.value):
        raise Refused(f"the text has {len(call.value)} characters, and {start + length} are asked for")
    return call.value[start : start + length]


def trim(call: Call) -> str:
    side = call.option(0).lower()
    if side not in {"", "start", "end"}:
        raise Refused("there is no such side; it takes start and end")
    return {"": call.value.strip, "start": call.value.lstrip, "end": call.value.rstrip}[side]()


def indent(call: Call) -> str:
    """`Indent`, `Indent 2`, `Indent /2` (not the first line), `Indent 4/2`, or one or two texts."""
    if not call.value:
        return ""
    first, rest = _indents(call)
    call.fits(len(call.value) + len(first) + call.value.count("\n") * len(rest))
    return first + call.value.replace("\n", "\n" + rest)


def _indents(call: Call) -> Tuple[str, str]:
    if len(call.options) == 2:
        return call.options[0], call.options[1]
    option = call.option(0, "4")
    first, slash, rest = option.partition("/")
    sizes = [first or "0", rest] if slash else [first, first]
    if all(size.isascii() and size.isdigit() and len(size) < 4 and int(size) <= _INDENT_MAX for size in sizes):
        return " " * int(sizes[0]), " " * int(sizes[1])
    return option, option


def nothing(call: Call) -> str:
    del call
    return ""


FILTERS = {
    "ToLower": Filter(to_lower),
    "ToUpper": Filter(to_upper),
    "ToBase64": Filter(to_base64, 0, 1),
    "FromBase64": Filter(from_base64, 0, 1),
    "Append": Filter(append, 1, MANY, alone=True),
    "Prepend": Filter(prepend, 1, MANY, alone=True),
    "Truncate": Filter(truncate, 1, 1),
    "Substring": Filter(substring, 1, 2),
    "Trim": Filter(trim, 0, 1),
    "Indent": Filter(indent, 0, 2),
    "Null": Filter(nothing, 0, MANY, alone=True),
}

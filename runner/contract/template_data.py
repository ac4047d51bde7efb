"""PURE. Values that are JSON: read within limits, walked by `.name` and `[index]`, and written again as text."""

from __future__ import annotations

import json
from typing import Any, List, NoReturn, Sequence, Tuple

from runner.contract.template_names import Found

JSON_MAX_CHARS = 1024 * 1024
_DIGITS_MAX = 300


class NoData(Exception):
    """The text is no JSON, or the path leads nowhere in it."""


def walk(value: Any, steps: Sequence[Found]) -> Any:
    """What stands at the steps; a text on the way is read as JSON.

    Raises:
        NoData: nothing does.
    """
    for _, text in steps:
        here = read(value) if isinstance(value, str) else value
        if isinstance(here, dict):
            value = _member(here, text)
        elif isinstance(here, list) and text.isdecimal() and len(text) < 9 and int(text) < len(here):
            value = here[int(text)]
        else:
            raise NoData
    return value


def _member(members: dict[str, Any], name: str) -> Any:
    if name in members:
        return members[name]
    for key, value in members.items():
        if key.casefold() == name.casefold():
            return value
    raise NoData


def read(text: str) -> Any:
    """A JSON object or array.

    Raises:
        NoData: the text is none, or is too large or too deep for one.
    """
    if text.lstrip()[:1] not in {"{", "["} or len(text) > JSON_MAX_CHARS:
        raise NoData
    try:
        return json.loads(text, parse_int=_whole, parse_float=_fraction, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise NoData from error


def items(value: Any) -> List[Tuple[str | None, Any]]:
    """What `#{each}` goes through: members with their keys, or elements.

    Raises:
        NoData: the value is no object and no array.
    """
    here = read(value) if isinstance(value, str) else value
    if isinstance(here, dict):
        return list(here.items())
    if isinstance(here, list):
        return [(None, element) for element in here]
    raise NoData


def written(value: Any) -> str:
    """A value as text: null is empty, truth values are True and False, objects and arrays are JSON."""
    if value is None:
        return ""
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return str(value)


def _whole(digits: str) -> int:
    if len(digits) > _DIGITS_MAX:
        raise ValueError(digits[:20])
    return int(digits)


def _fraction(digits: str) -> float:
    number = float(digits)
    if number in {float("inf"), float("-inf")}:
        raise ValueError(digits[:20])
    return number


def _no_number(word: str) -> NoReturn:
    raise ValueError(word)

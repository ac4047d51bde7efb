"""JSON files: values are replaced in place by their path (`a:b:0:c`), without regard to case; all else stays as it is.

A number stays a number, true and false stay truth values, as long as the new value reads as one; an object or a list is
replaced whole by a value that reads as one.
"""

from __future__ import annotations

import json
import re
from typing import Any, Dict, List, Mapping, Tuple

from runner.errors import StepFailed
from runner.file_format import FileFormat

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()
# What a text that is no JSON value reads as.
_NOTHING = object()
_KINDS: Dict[str, Tuple[type, ...]] = {"{": (dict,), "[": (list,), '"': ()}
_Place = Tuple[str, int, int]


def _recognise(name: str, text: str) -> bool:
    return name.endswith(".json") or text.lstrip("\ufeff \t\r\n")[:1] in ("{", "[")


def _replace(text: str, values: Mapping[str, str]) -> Tuple[str, Tuple[str, ...]]:
    wanted: Dict[str, str] = {name.casefold(): name for name in values}
    pieces: List[str] = []
    used: List[str] = []
    at = 0
    for path, start, stop in _places(text):
        name = wanted.get(path.casefold())
        # A place inside a value that was replaced whole is gone.
        if name is None or start < at:
            continue
        pieces += [text[at:start], _written(values[name], text[start:stop])]
        used.append(name)
        at = stop
    pieces.append(text[at:])
    return "".join(pieces), tuple(used)


def _places(text: str) -> List[_Place]:
    """Path, start and end of every value, an outer one before those inside of it."""
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StepFailed(f"not well-formed JSON: {error}") from error
    places: List[_Place] = []
    # What `json` read without complaint can be walked without looking for faults.
    _walk(text, _skip(text, 0), "", places)
    return places


def _walk(text: str, at: int, path: str, places: List[_Place]) -> int:
    mine = len(places)
    opening = text[at]
    if opening == "{":
        stop = _walk_object(text, at + 1, path, places)
    elif opening == "[":
        stop = _walk_list(text, at + 1, path, places)
    else:
        _, stop = _DECODER.raw_decode(text, at)
    if path:
        places.insert(mine, (path, at, stop))
    return stop


def _walk_object(text: str, at: int, path: str, places: List[_Place]) -> int:
    at = _skip(text, at)
    while text[at] != "}":
        key, at = _DECODER.raw_decode(text, at)
        at = _skip(text, _skip(text, at) + 1)
        at = _skip(text, _walk(text, at, f"{path}:{key}" if path else key, places))
        at = _skip(text, at + 1) if text[at] == "," else at
    return at + 1


def _walk_list(text: str, at: int, path: str, places: List[_Place]) -> int:
    at = _skip(text, at)
    number = 0
    while text[at] != "]":
        at = _skip(text, _walk(text, at, f"{path}:{number}" if path else str(number), places))
        number += 1
        at = _skip(text, at + 1) if text[at] == "," else at
    return at + 1


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _written(value: str, old: str) -> str:
    """The new value as JSON: of the old one's type where it reads as such, else a text."""
    text = value.strip()
    text = text.lower() if text.lower() in ("true", "false", "null") else text
    return text if _is_like(_read(text), old) else json.dumps(value, ensure_ascii=False)


def _is_like(new: Any, old: str) -> bool:
    """Whether a value is of the type that another one, written as JSON, has; null may become anything but a text."""
    if old[0] in "tf":
        return isinstance(new, bool)
    if old[0] == "n":
        return new is not _NOTHING and not isinstance(new, str)
    if isinstance(new, bool):
        return False
    return isinstance(new, _KINDS.get(old[0], (int, float)))


def _read(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=lambda _: _NOTHING)
    except (ValueError, RecursionError):
        return _NOTHING


FORMAT = FileFormat(name="JSON", recognise=_recognise, replace=_replace)

"""JSON files: values are replaced in place by their path (`a:b:0:c`), without regard to case; all else stays as it is.

A number stays a number, true and false stay truth values, as long as the new value reads as one; an object or a list is
replaced whole by a value that reads as one.
"""

from __future__ import annotations

import json
import re
from json.decoder import scanstring  # type: ignore[attr-defined]  # public in json.decoder, unknown to typeshed
from typing import Any, Dict, List, Mapping, Tuple

from runner.errors import StepFailed
from runner.file_format import FileFormat

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()
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
    places: List[_Place] = []
    try:
        stop = _walk(text, _SPACE.match(text, 1 if text.startswith("\ufeff") else 0).end(), "", places)  # type: ignore[union-attr]  # matches always
        json.loads(text.lstrip("\ufeff"))
    except (ValueError, IndexError, StopIteration, RecursionError) as error:
        raise StepFailed(f"not well-formed JSON: {error}") from error
    del stop
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
        key, at = scanstring(text, at + 1, strict=True)
        at = _expect(text, _skip(text, at), ":")
        at = _skip(text, _walk(text, at, f"{path}:{key}" if path else key, places))
        if text[at] == "}":
            break
        at = _expect(text, at, ",")
    return at + 1


def _walk_list(text: str, at: int, path: str, places: List[_Place]) -> int:
    at = _skip(text, at)
    number = 0
    while text[at] != "]":
        at = _skip(text, _walk(text, at, f"{path}:{number}" if path else str(number), places))
        number += 1
        if text[at] == "]":
            break
        at = _expect(text, at, ",")
    return at + 1


def _expect(text: str, at: int, character: str) -> int:
    if text[at] != character:
        raise ValueError(f"expected {character!r} at character {at}")
    return _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _written(value: str, old: str) -> str:
    """The new value as JSON, of the old one's type where it reads as such."""
    kept_kind = {"{": dict, "[": list, "t": bool, "f": bool, "n": object}.get(
        old[0], str if old[0] == '"' else (int, float)
    )
    if kept_kind is str:
        return json.dumps(value, ensure_ascii=False)
    text = value.strip()
    text = text.lower() if text.lower() in ("true", "false", "null") else text
    new = _read(text)
    fits = (
        new is not None
        and isinstance(new, kept_kind)
        and (kept_kind is bool or kept_kind is object or not isinstance(new, bool))
    )
    return text if fits or (text == "null" and kept_kind is object) else json.dumps(value, ensure_ascii=False)


def _read(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None


FORMAT = FileFormat(name="JSON", recognise=_recognise, replace=_replace)

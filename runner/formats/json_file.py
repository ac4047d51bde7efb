"""JSON files: values are replaced in place by their path (`a:b:0:c`), without regard to case; all else stays as it is.

A number stays a number, true and false stay truth values, as long as the new value reads as one; an object or a list is
replaced whole by a value that reads as one.
"""

from __future__ import annotations

import json
import re
from typing import Any, Dict, List, Mapping, Optional, Tuple

from runner.errors import FileMalformed
from runner.file_format import FileFormat
from runner.rewriting import NOTHING, Rewriting, Wanted, line_of, read_json

_SPACE = re.compile(r"[ \t\r\n]*")
# How numbers are written counts, not what they are: reading a long one takes the square of its length.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str)
_KINDS: Dict[str, Tuple[type, ...]] = {"{": (dict,), "[": (list,), '"': ()}
_Place = Tuple[str, int, int]
_Found = Tuple[Wanted, List[_Place]]


def _has_name(name: str) -> bool:
    return name.endswith(".json")


def _has_look(text: str) -> bool:
    if text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        _places(text, Wanted({}))
    except FileMalformed:
        return False
    return True


def _replace(text: str, values: Mapping[str, str]) -> Tuple[str, Tuple[str, ...]]:
    wanted = Wanted(values)
    rewriting = Rewriting(text)
    for name, start, stop in _places(text, wanted):
        rewriting.put(name, start, stop, _written(wanted[name], text[start:stop]))
    return rewriting.result()


def _places(text: str, wanted: Wanted) -> List[_Place]:
    """Name, start and end of every value that a variable is for, an outer one before those inside of it.

    The file is gone through and not made into objects, which would take thirty times its size.
    """
    places: List[_Place] = []
    try:
        end = _skip(text, _walk(text, _skip(text, 0), "", (wanted, places)))
    except json.JSONDecodeError as error:
        raise FileMalformed(f"not well-formed JSON: {error.msg}", error.lineno) from error
    except RecursionError as error:
        raise FileMalformed("not well-formed JSON: nested too deeply") from error
    if end < len(text):
        raise FileMalformed("not well-formed JSON: Extra data", line_of(text, end))
    return places


def _walk(text: str, at: int, path: Optional[str], found: _Found) -> int:
    wanted, places = found
    mine = len(places)
    opening = text[at : at + 1]
    if opening == "{":
        stop = _walk_object(text, at + 1, path, found)
    elif opening == "[":
        stop = _walk_list(text, at + 1, path, found)
    else:
        stop = _leaf(text, at)[1]
    name = wanted.name(path)
    if name is not None:
        places.insert(mine, (name, at, stop))
    return stop


def _walk_object(text: str, at: int, path: Optional[str], found: _Found) -> int:
    at = _skip(text, at)
    if text.startswith("}", at):
        return at + 1
    while True:
        if not text.startswith('"', at):
            raise json.JSONDecodeError("Expecting property name enclosed in double quotes", text, at)
        key, at = _leaf(text, at)
        at = _skip(text, at)
        if not text.startswith(":", at):
            raise json.JSONDecodeError("Expecting ':' delimiter", text, at)
        at = _skip(text, _walk(text, _skip(text, at + 1), found[0].path(path, key), found))
        if text.startswith("}", at):
            return at + 1
        at = _next(text, at)


def _walk_list(text: str, at: int, path: Optional[str], found: _Found) -> int:
    at = _skip(text, at)
    if text.startswith("]", at):
        return at + 1
    number = 0
    while True:
        at = _skip(text, _walk(text, at, found[0].path(path, str(number)), found))
        if text.startswith("]", at):
            return at + 1
        at = _next(text, at)
        number += 1


def _next(text: str, at: int) -> int:
    if not text.startswith(",", at):
        raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
    return _skip(text, at + 1)


def _leaf(text: str, at: int) -> Tuple[Any, int]:
    """A text, number or word, and where it ends."""
    if not text[at : at + 1]:
        raise json.JSONDecodeError("Expecting value", text, at)
    return _DECODER.raw_decode(text, at)


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _written(value: str, old: str) -> str:
    """The new value as JSON: of the old one's type where it reads as such, else a text."""
    text = value.strip()
    text = text.lower() if text.lower() in ("true", "false", "null") else text
    return text if _is_like(read_json(text), old) else json.dumps(value, ensure_ascii=False)


def _is_like(new: Any, old: str) -> bool:
    """Whether a value is of the type that another one, written as JSON, has; null may become anything but a text."""
    if old[0] in "tf":
        return isinstance(new, bool)
    if old[0] == "n":
        return new is not NOTHING and not isinstance(new, str)
    if isinstance(new, bool):
        return False
    return isinstance(new, _KINDS.get(old[0], (int, float)))


FORMAT = FileFormat(name="JSON", has_name=_has_name, has_look=_has_look, replace=_replace)

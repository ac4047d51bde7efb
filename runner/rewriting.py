"""Putting values into a text at the places that a file format found; every other character stays as it is."""

from __future__ import annotations

import json
import re
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

# What a text that is no JSON value reads as.
NOTHING = object()
_LINE = re.compile(r"([^\r\n]*)(?:\r\n|\r|\n|\Z)")


class Wanted:
    """Values by the paths of the places that they are for (`Database:Host`), without regard to case."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._names: Dict[str, str] = {name.casefold(): name for name in values}
        self._values = values
        self._longest = max(map(len, self._names), default=0)

    def path(self, outer: Optional[str], key: str) -> Optional[str]:
        """The path of a key below another path ("" at the top).

        None where no name is as long: else a long key above many others would cost its length for each of them.
        """
        if outer is None or len(outer) + len(key) > 2 * self._longest:
            return None
        path = f"{outer}:{key.casefold()}" if outer else key.casefold()
        return path if len(path) <= self._longest else None

    def name(self, path: Optional[str]) -> Optional[str]:
        """The variable that is for this path."""
        return self._names.get(path) if path else None

    def __getitem__(self, name: str) -> str:
        return self._values[name]


class Rewriting:
    """A text whose pieces are replaced from its beginning to its end."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._pieces: List[str] = []
        self._used: Dict[str, None] = {}

    def put(self, name: str, start: int, stop: int, new: str) -> None:
        """Replace a piece by what the variable `name` says, unless an outer one was replaced whole."""
        if start < self._at:
            return
        self._pieces += [self._text[self._at : start], new]
        self._at = stop
        self._used[name] = None

    def result(self) -> Tuple[str, Tuple[str, ...]]:
        """The new text, and the variables that were used."""
        return "".join(self._pieces) + self._text[self._at :], tuple(self._used)


def lines_of(text: str) -> Iterator[Tuple[int, int, int]]:
    """Number, start and end (without the line's end) of every line."""
    for number, found in enumerate(_LINE.finditer(text), 1):
        yield number, found.start(1), found.end(1)


def line_of(text: str, at: int) -> int:
    """The number of the line that a place lies in."""
    return sum(1 for _ in re.finditer(r"\r\n|\r|\n", text[:at])) + 1


def read_json(text: str) -> Any:
    """A value that is written as JSON, or NOTHING; of a number only that it is one counts."""
    try:
        return json.loads(text, parse_constant=lambda _: NOTHING, parse_int=lambda _: 0)
    except (ValueError, RecursionError):
        return NOTHING

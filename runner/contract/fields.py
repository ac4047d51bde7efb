"""Strict reading of a JSON object: every field named once, of its type, within its limit; nothing else in it."""

from __future__ import annotations

import json
from typing import Any, Dict, List, NoReturn, Tuple

from runner.contract.errors import JobMalformed

Json = Dict[str, Any]


def parse_object(data: bytes | str) -> Json:
    """One JSON object; duplicate keys, NaN and lone surrogates are refused."""
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except JobMalformed:
        raise
    except (ValueError, RecursionError) as error:
        raise JobMalformed("", f"expected JSON, found something else ({type(error).__name__})") from error
    if not isinstance(value, dict):
        raise JobMalformed("", "expected a JSON object")
    return value


class Fields:
    """One JSON object being read; `finish` refuses what nobody asked for."""

    def __init__(self, value: object, path: str = "") -> None:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise JobMalformed(path, "expected an object")
        self._rest: Json = dict(value)
        self._path = path

    def __contains__(self, name: str) -> bool:
        return name in self._rest

    def text(self, name: str, limit: int = 1024) -> str:
        value = self._take(name)
        if not isinstance(value, str) or len(value) > limit:
            raise JobMalformed(self._at(name), f"expected a text of at most {limit} characters")
        return value

    def number(self, name: str, low: int = 0, high: int = 2**53) -> int:
        value = self._take(name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise JobMalformed(self._at(name), f"expected a whole number from {low} to {high}")
        return value

    def flag(self, name: str) -> bool:
        value = self._take(name)
        if not isinstance(value, bool):
            raise JobMalformed(self._at(name), "expected true or false")
        return value

    def object(self, name: str) -> Fields:
        return Fields(self._take(name), self._at(name))

    def json_object(self, name: str, *, absent: bool = False) -> Json:
        """Any object; with `absent` a missing field is an empty one."""
        if absent and name not in self._rest:
            return {}
        value = self._take(name)
        Fields(value, self._at(name))
        return dict(value)

    def texts(self, name: str, limit: int = 10_000) -> Tuple[str, ...]:
        value = self._take(name)
        if not isinstance(value, list) or len(value) > limit or not all(isinstance(v, str) for v in value):
            raise JobMalformed(self._at(name), f"expected a list of at most {limit} texts")
        return tuple(value)

    def text_map(self, name: str, *, absent: bool = False) -> Dict[str, str]:
        """Texts by name; with `absent` a missing field is an empty one."""
        if absent and name not in self._rest:
            return {}
        value = self.json_object(name)
        for key, item in value.items():
            if not isinstance(item, str):
                raise JobMalformed(f"{self._at(name)}.{key}", "expected a text")
        return value

    def optional(self, name: str) -> Fields | None:
        """The object of that name, or None where null stands."""
        value = self._take(name)
        return None if value is None else Fields(value, self._at(name))

    def finish(self) -> None:
        if self._rest:
            raise JobMalformed(self._at(min(self._rest)), "nobody knows this field")

    def _take(self, name: str) -> Any:
        if name not in self._rest:
            raise JobMalformed(self._at(name), "is missing")
        return self._rest.pop(name)

    def _at(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name


def _unique(pairs: List[Tuple[str, Any]]) -> Json:
    found: Json = {}
    for key, value in pairs:
        if key in found:
            raise JobMalformed(key, "stands twice in one object")
        found[key] = value
    return found


def _no_constant(name: str) -> NoReturn:
    raise JobMalformed("", f"{name} is no JSON number")

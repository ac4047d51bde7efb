"""PURE. Takes secret values out of a request and puts them back: between the two the request can be shown and hashed.

Each value stands under its path (`variables/3/value`); in the request null stands in its place.
"""

from collections.abc import Iterable, Mapping
from typing import Any

JsonObject = dict[str, Any]
Path = tuple[str | int, ...]


class SealedValueMisplaced(ValueError):
    """A path that leads nowhere, or to something that is not null."""


def take_out(request: JsonObject, paths: Iterable[Path]) -> tuple[JsonObject, dict[str, str]]:
    """A copy of the request with null at each path, and the texts that stood there.

    Args:
        request: Not changed; the parts on the way to a path are copied, all else is shared.
        paths: Where secrets stand; a path to something other than a text is left alone.
    """
    copy: JsonObject = dict(request)
    values: dict[str, str] = {}
    for path in paths:
        place = _copied_parent(copy, path)
        if place is not None and isinstance(place[path[-1]], str):
            values["/".join(str(part) for part in path)] = place[path[-1]]
            place[path[-1]] = None
    return copy, values


def put_back(request: JsonObject, values: Mapping[str, str]) -> JsonObject:
    """The request as it was typed.

    Raises:
        SealedValueMisplaced: a path does not lead to a null.
    """
    copy: JsonObject = dict(request)
    for text, value in values.items():
        path = _path(copy, text)
        place = _copied_parent(copy, path)
        if place is None or place[path[-1]] is not None:
            raise SealedValueMisplaced(text)
        place[path[-1]] = value
    return copy


def _copied_parent(root: JsonObject, path: Path) -> Any:
    """What holds the last part of the path, every container on the way replaced by a copy; None where it ends early."""
    place: Any = root
    for part in path[:-1]:
        if not _holds(place, part):
            return None
        inner = place[part]
        if not isinstance(inner, dict | list):
            return None
        place[part] = inner.copy()
        place = place[part]
    return place if _holds(place, path[-1]) else None


def _holds(place: Any, part: str | int) -> bool:
    if isinstance(part, str):
        return isinstance(place, dict) and part in place
    return isinstance(place, list) and 0 <= part < len(place)


def _path(root: JsonObject, text: str) -> Path:
    """The parts of a path as this request understands them: a number in a list, a key elsewhere."""
    place: Any = root
    parts: list[str | int] = []
    for part in text.split("/"):
        step: str | int = int(part) if isinstance(place, list) and part.isascii() and part.isdigit() else part
        parts.append(step)
        place = place[step] if _holds(place, step) else None
    return tuple(parts)

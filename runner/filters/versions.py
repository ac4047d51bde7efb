"""Filters that take a version apart: `1.2.3.4-branch.1+meta`, with a `v` before it or not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Callable, List

from runner.filters.call import Call, Filter

_SEPARATORS = re.compile(r"[.\-_\\]")


@dataclass(frozen=True)
class Version:
    numbers: List[str]
    pre_release: str
    metadata: str

    @property
    def prefix(self) -> str:
        return _SEPARATORS.split(self.pre_release, maxsplit=1)[0]

    @property
    def counter(self) -> str:
        return self.pre_release[len(self.prefix) + 1 :]


def version_of(text: str) -> Version:
    """Up to four numbers, what stands between them and a plus, and what stands after it; nothing is refused."""
    before, _, metadata = text.strip().partition("+")
    rest = before[1:] if before[:1] in {"v", "V"} and before[1:2].isdigit() else before
    numbers: List[str] = []
    while len(numbers) < 4:
        digits = re.match(r"[0-9]+", rest[1:] if numbers else rest, re.ASCII)
        if not digits or (numbers and rest[0] != "."):
            break
        rest = rest[digits.end() + bool(numbers) :]
        numbers.append(digits.group())
    if numbers and rest and _SEPARATORS.match(rest):
        rest = rest[1:]
    return Version([number.lstrip("0") or "0" for number in [*numbers, "0", "0", "0", "0"][:4]], rest, metadata)


def _part(part: Callable[[Version], str]) -> Filter:
    def function(call: Call) -> str:
        return part(version_of(call.value))

    return Filter(function)


FILTERS = {
    "VersionMajor": _part(lambda version: version.numbers[0]),
    "VersionMinor": _part(lambda version: version.numbers[1]),
    "VersionPatch": _part(lambda version: version.numbers[2]),
    "VersionRevision": _part(lambda version: version.numbers[3]),
    "VersionPreRelease": _part(lambda version: version.pre_release),
    "VersionPreReleasePrefix": _part(lambda version: version.prefix),
    "VersionPreReleaseCounter": _part(lambda version: version.counter),
    "VersionMetadata": _part(lambda version: version.metadata),
}

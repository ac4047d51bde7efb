"""Filters that say `true` or `false` of a text, and Replace."""

from __future__ import annotations

import re
from typing import List

from runner.filters.call import Call, Filter
from runner.filters.pattern import Match, Pattern

_REFERENCE = re.compile(r"\$(?:(\$)|(&)|([0-9]{1,2})|\{([A-Za-z_0-9]{1,40})\})", re.ASCII)


def match(call: Call) -> str:
    pattern = Pattern(call.option(0))
    if pattern.literal is not None:
        return _said(pattern.literal in call.value)
    return _said(pattern.search(call.value, 0, call.spend) is not None)


def replace(call: Call) -> str:
    """`Replace PATTERN` or `Replace PATTERN BY`, where `$1`, `${name}` and `$&` are what was found."""
    pattern, by = Pattern(call.option(0)), call.option(1)
    if pattern.literal and "$" not in by:
        call.fits(len(call.value) + call.value.count(pattern.literal) * max(len(by) - len(pattern.literal), 0))
        return call.value.replace(pattern.literal, by)
    pieces: List[str] = []
    size, at, start = 0, 0, 0
    while at <= len(call.value):
        found = pattern.search(call.value, at, call.spend)
        if found is None:
            break
        pieces += [call.value[start : found.start], _filled(by, found, call.value)]
        size += len(pieces[-1]) + len(pieces[-2])
        call.fits(size)
        start = found.end
        # An empty find is followed by one character at least, else it would be found for ever.
        at = found.end + (found.end == found.start)
    return "".join(pieces) + call.value[start:]


def _filled(by: str, found: Match, text: str) -> str:
    def piece(reference: re.Match[str]) -> str:
        dollar, whole, number, name = reference.groups()
        if dollar:
            return "$"
        if whole:
            return text[found.start : found.end]
        group = found.group(number or name, text)
        return reference.group() if group is None else group

    return _REFERENCE.sub(piece, by) if "$" in by else by


def starts_with(call: Call) -> str:
    return _said(call.value.startswith(call.option(0)))


def ends_with(call: Call) -> str:
    return _said(call.value.endswith(call.option(0)))


def contains(call: Call) -> str:
    return _said(call.option(0) in call.value)


def _said(answer: bool) -> str:
    return "true" if answer else "false"


FILTERS = {
    "Match": Filter(match, 1, 1),
    "Replace": Filter(replace, 1, 2),
    "StartsWith": Filter(starts_with, 1, 1),
    "EndsWith": Filter(ends_with, 1, 1),
    "Contains": Filter(contains, 1, 1),
}

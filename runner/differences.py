"""PURE. What is different between two texts, as a unified diff; the work grows with their lines, whatever they hold.

Lines that stand once in each text, in the same order, are where the two meet ("patience"); what is left between two of
them is small, or as many lines on both sides, or told as one block.
"""

from __future__ import annotations

import bisect
from collections import Counter
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Dict, Iterator, List, Sequence, Tuple

CONTEXT_LINES = 3
# Lines of one side times lines of the other that difflib may look at: its work grows with more than the square.
_SMALL = 2_500
_DEPTH_MAX = 8


@dataclass(frozen=True)
class Change:
    """Lines `old_start` to `old_stop` became lines `new_start` to `new_stop`, counted from 0."""

    old_start: int
    old_stop: int
    new_start: int
    new_stop: int


def changes(old: Sequence[str], new: Sequence[str]) -> List[Change]:
    """Where two lists of lines differ, in order; neighbours are one change."""
    found: List[Change] = []
    for change in _changes(old, new, Change(0, len(old), 0, len(new)), 0):
        last = found[-1] if found else None
        if last is not None and (last.old_stop, last.new_stop) == (change.old_start, change.new_start):
            found[-1] = Change(last.old_start, change.old_stop, last.new_start, change.new_stop)
        else:
            found.append(change)
    return found


def unified(old: Sequence[str], new: Sequence[str], found: Sequence[Change]) -> Iterator[List[str]]:
    """Each hunk of the unified diff: its header, then its lines behind a space, a minus or a plus."""
    for group in _groups(found):
        before = min(CONTEXT_LINES, group[0].old_start, group[0].new_start)
        after = min(CONTEXT_LINES, len(old) - group[-1].old_stop, len(new) - group[-1].new_stop)
        old_at, new_at = group[0].old_start - before, group[0].new_start - before
        old_end, new_end = group[-1].old_stop + after, group[-1].new_stop + after
        hunk = [f"@@ -{_range(old_at, old_end)} +{_range(new_at, new_end)} @@"]
        for change in group:
            hunk += (f" {line}" for line in old[old_at : change.old_start])
            hunk += (f"-{line}" for line in old[change.old_start : change.old_stop])
            hunk += (f"+{line}" for line in new[change.new_start : change.new_stop])
            old_at = change.old_stop
        hunk += (f" {line}" for line in old[old_at:old_end])
        yield hunk


def _groups(found: Sequence[Change]) -> Iterator[List[Change]]:
    """Changes whose context would overlap, together."""
    group: List[Change] = []
    for change in found:
        if group and change.old_start - group[-1].old_stop > 2 * CONTEXT_LINES:
            yield group
            group = []
        group.append(change)
    if group:
        yield group


def _range(start: int, stop: int) -> str:
    count = stop - start
    return f"{start + 1 if count else start},{count}"


def _changes(old: Sequence[str], new: Sequence[str], within: Change, depth: int) -> Iterator[Change]:
    left = _trimmed(old, new, within)
    lines, others = left.old_stop - left.old_start, left.new_stop - left.new_start
    if not lines and not others:
        return
    if not lines or not others:
        yield left
        return
    anchors = _anchors(old, new, left) if depth < _DEPTH_MAX and lines * others > _SMALL else []
    if anchors:
        at = (left.old_start, left.new_start)
        for here, there in [*anchors, (left.old_stop, left.new_stop)]:
            yield from _changes(old, new, Change(at[0], here, at[1], there), depth + 1)
            at = (here + 1, there + 1)
    elif lines * others <= _SMALL:
        yield from _by_difflib(old, new, left)
    elif lines == others:
        pairs = zip(range(left.old_start, left.old_stop), range(left.new_start, left.new_stop))
        yield from (Change(i, i + 1, j, j + 1) for i, j in pairs if old[i] != new[j])
    else:
        yield left


def _trimmed(old: Sequence[str], new: Sequence[str], within: Change) -> Change:
    """Without what is the same at its beginning and at its end."""
    old_start, old_stop, new_start, new_stop = within.old_start, within.old_stop, within.new_start, within.new_stop
    while old_start < old_stop and new_start < new_stop and old[old_start] == new[new_start]:
        old_start, new_start = old_start + 1, new_start + 1
    while old_start < old_stop and new_start < new_stop and old[old_stop - 1] == new[new_stop - 1]:
        old_stop, new_stop = old_stop - 1, new_stop - 1
    return Change(old_start, old_stop, new_start, new_stop)


def _anchors(old: Sequence[str], new: Sequence[str], within: Change) -> List[Tuple[int, int]]:
    """Lines that stand once on each side, as far as they follow one another in the same order on both."""
    counts = Counter(old[within.old_start : within.old_stop])
    others = Counter(new[within.new_start : within.new_stop])
    places: Dict[str, int] = {
        line: at for at, line in enumerate(old[within.old_start : within.old_stop], within.old_start)
    }
    common = [
        (places[line], at)
        for at, line in enumerate(new[within.new_start : within.new_stop], within.new_start)
        if others[line] == 1 and counts.get(line) == 1
    ]
    return _rising(common)


def _rising(pairs: Sequence[Tuple[int, int]]) -> List[Tuple[int, int]]:
    """The longest part, in order, whose first numbers rise as the second do."""
    tops: List[int] = []
    owners: List[int] = []
    before: List[int] = []
    for index, (first, _) in enumerate(pairs):
        at = bisect.bisect_left(tops, first)
        tops[at : at + 1] = [first]
        owners[at : at + 1] = [index]
        before.append(owners[at - 1] if at else -1)
    found: List[Tuple[int, int]] = []
    index = owners[-1] if owners else -1
    while index >= 0:
        found.append(pairs[index])
        index = before[index]
    return found[::-1]


def _by_difflib(old: Sequence[str], new: Sequence[str], within: Change) -> Iterator[Change]:
    matcher = SequenceMatcher(
        None, old[within.old_start : within.old_stop], new[within.new_start : within.new_stop], autojunk=False
    )
    for tag, i, i_stop, j, j_stop in matcher.get_opcodes():
        if tag != "equal":
            start, other = within.old_start, within.new_start
            yield Change(start + i, start + i_stop, other + j, other + j_stop)

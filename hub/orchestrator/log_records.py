"""PURE. From the spool records of a log frame to lines, and whether they follow on what came before.

A spool is numbered without holes and chained. What is missing is named, never passed over: frames may come twice, late
or not at all, and the log says so.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from hub.orchestrator.effects import Level
from runner.contract.masking import Masker, Patterns
from runner.contract.spool import Kind, Record, Stream

_LEVELS = {
    Stream.STDOUT: Level.STDOUT,
    Stream.STDERR: Level.STDERR,
    Stream.INFO: Level.INFO,
    Stream.WARNING: Level.WARNING,
    Stream.ERROR: Level.ERROR,
    Stream.VERBOSE: Level.VERBOSE,
    Stream.NONE: Level.VERBOSE,
}
GAPS_MAX = 1_000
_TEXT_MAX = 32 * 1024


@dataclass(slots=True)
class Columns:
    """Lines as `task_log` takes them."""

    at: list[int] = field(default_factory=list)
    levels: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def add(self, at: int, level: str, text: str) -> None:
        self.at.append(at)
        self.levels.append(level)
        self.texts.append(text)


@dataclass(slots=True)
class Cursor:
    """How far one job's log is in: the number that the next record has, the chain value before it, what is missing."""

    next_record: int = 0
    chain: str = "0" * 64
    gaps: list[list[int]] = field(default_factory=list)
    forked: bool = False

    @property
    def complete(self) -> bool:
        return not self.gaps and not self.forked


def follow(
    cursor: Cursor, first: int, previous: str, records: Sequence[Record], now_ms: int, lines: Columns
) -> list[Record]:
    """Move the cursor over a frame's records.

    Args:
        cursor: Changed in place.
        first: The number of the first record, as the frame's header says.
        previous: The chain value before it, as the header says.
        records: The frame's, whose own chain holds.
        now_ms: When the lines about gaps are said.
        lines: Where what is missing or does not fit is said.

    Returns:
        The records that are new; none of a frame that came before.
    """
    if first > cursor.next_record:
        _open_gap(cursor, first, now_ms, lines)
    elif first < cursor.next_record:
        return _late(cursor, first, records, now_ms, lines)
    elif previous != cursor.chain:
        cursor.forked = True
        lines.add(now_ms, Level.WARNING, f"LOG_GAP: record {first} does not follow on what the target sent before")
    cursor.next_record = first + len(records)
    cursor.chain = records[-1].chain.hex()
    return list(records)


def lines_of(records: Sequence[Record], secrets: Patterns | None, lines: Columns) -> None:
    """Cut text records into lines, masked once more; tell the events that a reader cares for."""
    for record in records:
        content = record.content
        if secrets is not None:
            masker = Masker(secrets)
            content = masker.feed(content) + masker.flush()
        if record.kind is Kind.EVENT:
            _tell(record, content, lines)
            continue
        parts = content.split(b"\n")
        if not parts[-1]:
            parts.pop()
        lines.texts += [part.decode("utf-8", "replace") for part in parts]
        lines.at += [record.at] * len(parts)
        lines.levels += [_LEVELS[record.stream]] * len(parts)


def missing_words(gaps: Sequence[Sequence[int]]) -> str:
    """`records 17–19 and 30`."""
    named = [f"{first}–{last}" if last > first else str(first) for first, last in gaps]
    more = f" and {len(named) - 10} more places" if len(named) > 10 else ""
    return f"records {', '.join(named[:10])}{more}"


def _open_gap(cursor: Cursor, first: int, now_ms: int, lines: Columns) -> None:
    gap = [cursor.next_record, first - 1]
    if len(cursor.gaps) < GAPS_MAX:
        cursor.gaps.append(gap)
    else:
        cursor.gaps[-1][1] = first - 1
    lines.add(now_ms, Level.WARNING, f"LOG_GAP: log incomplete: {missing_words([gap])} missing")


def _late(cursor: Cursor, first: int, records: Sequence[Record], now_ms: int, lines: Columns) -> list[Record]:
    """Records of before: those that fill a gap, and those that go on behind a frame that overlaps."""
    last = first + len(records) - 1
    fresh = [record for record in records if _is_missing(cursor, record.number)]
    if fresh:
        cursor.gaps = _without(cursor.gaps, first, last)
        lines.add(now_ms, Level.INFO, f"late: {missing_words([[fresh[0].number, fresh[-1].number]])} of the log")
    ahead = [record for record in records if record.number >= cursor.next_record]
    if ahead:
        before = [record for record in records if record.number == cursor.next_record - 1]
        cursor.forked = cursor.forked or (bool(before) and before[0].chain.hex() != cursor.chain)
        cursor.next_record = last + 1
        cursor.chain = records[-1].chain.hex()
    return fresh + ahead


def _is_missing(cursor: Cursor, number: int) -> bool:
    return number < cursor.next_record and any(first <= number <= last for first, last in cursor.gaps)


def _without(gaps: list[list[int]], first: int, last: int) -> list[list[int]]:
    left: list[list[int]] = []
    for start, end in gaps:
        if start < first:
            left.append([start, min(end, first - 1)])
        if end > last:
            left.append([max(start, last + 1), end])
    return left


def _tell(record: Record, content: bytes, lines: Columns) -> None:
    try:
        event = json.loads(content)
        name = event["event"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return
    if name == "progress":
        words = f"{event.get('percent')} % {event.get('message', '')}"
        lines.add(record.at, Level.INFO, words[:_TEXT_MAX].strip())
    elif name == "truncated":
        lines.add(record.at, Level.WARNING, f"output truncated at {event.get('bytes')} bytes"[:_TEXT_MAX])

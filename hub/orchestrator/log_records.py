"""PURE. From the spool records of a log frame to lines, and whether they follow on what came before.

A spool is numbered without holes and chained. What is missing is named, never passed over: frames may come twice, late
or not at all, and the log says so. A gap remembers the chain values at both its ends, so what fills it has to fit.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from hub.orchestrator.effects import Level
from hub.states import LogState
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


@dataclass(frozen=True, slots=True)
class Gap:
    """Records `first` to `last` never came. `before` and `after`: the chain values between which they lie, in hex."""

    first: int
    last: int
    before: str
    after: str

    def to_json(self) -> list[int | str]:
        return [self.first, self.last, self.before, self.after]

    @property
    def span(self) -> tuple[int, int]:
        return self.first, self.last


def gaps_from_json(stored: Sequence[Sequence[int | str]]) -> list[Gap]:
    """As `Gap.to_json` wrote them."""
    return [Gap(int(first), int(last), str(before), str(after)) for first, last, before, after in stored]


@dataclass(slots=True)
class Cursor:
    """How far one job's log is in: the number that the next record has, the chain value before it, what is missing.

    `differs`: something that came does not fit what else came.
    """

    next_record: int = 0
    chain: str = "0" * 64
    gaps: list[Gap] = field(default_factory=list)
    differs: bool = False

    @property
    def complete(self) -> bool:
        return not self.gaps and not self.differs


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
        The records that are new; none of a frame that came before, nor of one that would leave a gap too many: that
        is as good as lost, and fetched again with all behind it.
    """
    if first > cursor.next_record:
        if len(cursor.gaps) >= GAPS_MAX:
            return []
        gap = Gap(cursor.next_record, first - 1, cursor.chain, previous)
        cursor.gaps.append(gap)
        lines.add(now_ms, Level.WARNING, f"LOG_GAP: log incomplete: {missing_words([gap.span])} missing")
    elif first < cursor.next_record:
        return _late(cursor, first, previous, records, now_ms, lines)
    elif previous != cursor.chain:
        _differs(cursor, first, now_ms, lines)
    cursor.next_record = first + len(records)
    cursor.chain = records[-1].chain.hex()
    return list(records)


def end_at(cursor: Cursor, count: int, chain: str, now_ms: int, lines: Columns) -> None:
    """The spool has so many records and ends with this chain value, and no more of it is awaited: name what is missing
    at its end.
    """
    if cursor.next_record >= count:
        return
    gap = Gap(cursor.next_record, count - 1, cursor.chain, chain)
    cursor.gaps.append(gap)
    cursor.next_record, cursor.chain = count, chain
    lines.add(now_ms, Level.WARNING, f"LOG_GAP: log incomplete: {missing_words([gap.span])} missing")


def end_state(count: int, chain: str, records: int, said: str) -> LogState:
    """Of a log of which so many records came, without a gap: whether it is the one that the outcome names.

    Args:
        count: How many came.
        chain: The chain value behind the last of them.
        records: As many as the outcome says, or fewer: it names no spool where nobody knows what became of it.
        said: The chain value behind these.
    """
    return LogState.DIFFERS if count == records and count and chain != said else LogState.COMPLETE


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


def missing_words(spans: Sequence[tuple[int, int]]) -> str:
    """`records 17–19 and 30`."""
    named = [f"{first}–{last}" if last > first else str(first) for first, last in spans]
    more = f" and {len(named) - 10} more places" if len(named) > 10 else ""
    return f"records {', '.join(named[:10])}{more}"


def _differs(cursor: Cursor, first: int, now_ms: int, lines: Columns) -> None:
    cursor.differs = True
    lines.add(now_ms, Level.WARNING, f"LOG_GAP: record {first} does not follow on what the target sent before")


def _late(
    cursor: Cursor, first: int, previous: str, records: Sequence[Record], now_ms: int, lines: Columns
) -> list[Record]:
    """Records of before: those that fill a gap, and those that go on behind a frame that overlaps."""
    frame = _Frame(first, previous, records)
    fresh = [record for record in records if _is_missing(cursor, record.number)]
    if fresh:
        fits = all(_fits(gap, frame) for gap in cursor.gaps)
        cursor.gaps = [left for gap in cursor.gaps for left in _left_of(gap, frame)]
        lines.add(now_ms, Level.INFO, f"late: {missing_words([(fresh[0].number, fresh[-1].number)])} of the log")
        if not fits:
            _differs(cursor, fresh[0].number, now_ms, lines)
    ahead = [record for record in records if record.number >= cursor.next_record]
    if ahead:
        if frame.chain_before(cursor.next_record) != cursor.chain:
            _differs(cursor, cursor.next_record, now_ms, lines)
        cursor.next_record = frame.last + 1
        cursor.chain = records[-1].chain.hex()
    return fresh + ahead


@dataclass(frozen=True, slots=True)
class _Frame:
    first: int
    previous: str
    records: Sequence[Record]

    @property
    def last(self) -> int:
        return self.first + len(self.records) - 1

    def chain_before(self, number: int) -> str:
        """The chain value before one of its records, or behind its last one."""
        return self.records[number - self.first - 1].chain.hex() if number > self.first else self.previous


def _is_missing(cursor: Cursor, number: int) -> bool:
    return number < cursor.next_record and any(gap.first <= number <= gap.last for gap in cursor.gaps)


def _fits(gap: Gap, frame: _Frame) -> bool:
    """Whether the frame joins what lies around the gap, as far as it reaches there."""
    if frame.last < gap.first or frame.first > gap.last:
        return True
    begins = frame.first > gap.first or frame.chain_before(gap.first) == gap.before
    ends = frame.last < gap.last or frame.chain_before(gap.last + 1) == gap.after
    return begins and ends


def _left_of(gap: Gap, frame: _Frame) -> list[Gap]:
    if frame.last < gap.first or frame.first > gap.last:
        return [gap]
    left: list[Gap] = []
    if gap.first < frame.first:
        left.append(replace(gap, last=frame.first - 1, after=frame.previous))
    if gap.last > frame.last:
        left.append(replace(gap, first=frame.last + 1, before=frame.chain_before(frame.last + 1)))
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

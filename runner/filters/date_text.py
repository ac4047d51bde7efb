"""PURE. Dates as text, by .NET's format strings in the invariant culture (English names, month before day)."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import List

from runner.filters.call import Refused

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_STANDARD = {
    "d": "MM/dd/yyyy", "D": "dddd, dd MMMM yyyy", "f": "dddd, dd MMMM yyyy HH:mm", "F": "dddd, dd MMMM yyyy HH:mm:ss",
    "g": "MM/dd/yyyy HH:mm", "G": "MM/dd/yyyy HH:mm:ss", "M": "MMMM dd", "m": "MMMM dd",
    "o": "yyyy'-'MM'-'dd'T'HH':'mm':'ss'.'fffffffK", "O": "yyyy'-'MM'-'dd'T'HH':'mm':'ss'.'fffffffK",
    "r": "ddd, dd MMM yyyy HH':'mm':'ss 'GMT'", "R": "ddd, dd MMM yyyy HH':'mm':'ss 'GMT'",
    "s": "yyyy'-'MM'-'dd'T'HH':'mm':'ss", "t": "HH:mm", "T": "HH:mm:ss", "u": "yyyy'-'MM'-'dd HH':'mm':'ss'Z'",
    "U": "dddd, dd MMMM yyyy HH:mm:ss", "y": "yyyy MMMM", "Y": "yyyy MMMM",
}  # fmt: skip
_PIECE = re.compile(r"""'([^']*)'|"([^"]*)"|\\(.)|%|([dMyHhmsfFtzgK])\4*|.""", re.DOTALL)
_DAY = r"(?:(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})"
_DAY += r"|(?P<month2>\d{1,2})/(?P<day2>\d{1,2})/(?P<year2>\d{4}))"
_TIME = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:\.(?P<fraction>\d{1,9}))?)?(?: ?(?P<half>[AaPp][Mm]))?"
)
_ZONE = r"(?: ?(?P<zone>Z|GMT|[+-]\d{2}:?\d{2}))?"
_DATE = re.compile(rf"{_DAY}(?:[T ]{{1,3}}{_TIME}{_ZONE})?\Z", re.ASCII)
_NAMED = re.compile(
    rf"(?:[A-Z][a-z]{{2,8}}, )?(?P<day>\d{{1,2}}) (?P<name>[A-Z][a-z]{{2,8}}) (?P<year>\d{{4}})(?: {_TIME}{_ZONE})?\Z",
    re.ASCII,
)


def parse_date(text: str) -> datetime:
    """A date with or without a time and a zone.

    Raises:
        Refused: it is none that is known here.
    """
    short = text.strip()[:80]
    found = _DATE.match(short) or _NAMED.match(short)
    if not found:
        raise Refused("the text is no date; write 2030-05-22T09:05:00+02:00")
    part = found.groupdict()
    try:
        return datetime(
            int(part.get("year") or part.get("year2") or 0),
            _month(part.get("name")) or int(part.get("month") or part.get("month2") or 0),
            int(part.get("day") or part.get("day2") or 0),
            _hour(int(part.get("hour") or 0), part.get("half")),
            int(part.get("minute") or 0),
            int(part.get("second") or 0),
            int((part.get("fraction") or "0").ljust(6, "0")[:6]),
            # A date without a zone stays one without.
            _zone(part.get("zone")),
        )
    except ValueError as error:
        raise Refused("the text is no date that there is") from error


def _month(name: str | None) -> int:
    return next((at for at, month in enumerate(_MONTHS, 1) if name and name in {month, month[:3]}), 0)


def _hour(hour: int, half: str | None) -> int:
    if not half:
        return hour
    return hour % 12 + (12 if half.lower() == "pm" else 0)


def _zone(text: str | None) -> timezone | None:
    if not text:
        return None
    if text in {"Z", "GMT"}:
        return timezone.utc
    hours, minutes = int(text[1:3]), int(text[-2:])
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if text[0] == "-" else offset)


def write_date(date: datetime, pattern: str) -> str:
    """The date in a standard (`O`, `d`, `R`, …) or custom (`yyyy-MM-dd HH:mm:ss zzz`) format.

    Raises:
        Refused: the format is empty or unknown.
    """
    if len(pattern) == 1:
        if pattern not in _STANDARD:
            raise Refused("there is no such date format")
        if pattern in "rRuU" and date.tzinfo:
            date = date.astimezone(timezone.utc)
        pattern = _STANDARD[pattern]
    if not pattern or len(pattern) > 200:
        raise Refused("a date format has 1 to 200 characters")
    pieces: List[str] = []
    for found in _PIECE.finditer(pattern):
        quoted = next((text for text in found.groups()[:3] if text is not None), None)
        if quoted is not None:
            pieces.append(quoted)
        elif found.group(4):
            pieces.append(_part(date, found.group(4), len(found.group())))
        elif found.group() != "%":
            pieces.append(found.group())
    return "".join(pieces)


def _part(date: datetime, letter: str, count: int) -> str:
    if letter in "fF":
        digits = f"{date.microsecond:06}0"[: min(count, 7)]
        return digits if letter == "f" else digits.rstrip("0")
    if letter in "zK":
        return _zone_part(date, letter, count)
    if letter in "dM" and count > 2:
        name = _DAYS[date.weekday()] if letter == "d" else _MONTHS[date.month - 1]
        return name[:3] if count == 3 else name
    if letter in "tg":
        return "A.D." if letter == "g" else ("AM" if date.hour < 12 else "PM")[: 1 if count == 1 else 2]
    if letter == "y":
        return f"{date.year % 100:0{count}}" if count < 3 else f"{date.year:0{min(count, 9)}}"
    numbers = {
        "d": date.day, "M": date.month, "H": date.hour, "h": date.hour % 12 or 12, "m": date.minute, "s": date.second,
    }  # fmt: skip
    return f"{numbers[letter]:0{min(count, 2)}}"


def _zone_part(date: datetime, letter: str, count: int) -> str:
    if letter == "z":
        return _offset(date, count)
    if date.tzinfo is None:
        return ""
    return "Z" if date.tzinfo is timezone.utc else _offset(date, 3)


def _offset(date: datetime, count: int) -> str:
    """Of a date without a zone: that of the machine, as .NET has it."""
    offset = (date if date.tzinfo else date.astimezone()).utcoffset() or timedelta()
    minutes = abs(int(offset.total_seconds())) // 60
    sign = "-" if offset < timedelta() else "+"
    hours = f"{minutes // 60:02}" if count > 1 else str(minutes // 60)
    return f"{sign}{hours}:{minutes % 60:02}" if count > 2 else sign + hours

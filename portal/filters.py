"""How values read on pages: moments, sizes, durations."""

from datetime import UTC, datetime

from flask import Flask

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def install(app: Flask) -> None:
    app.jinja_env.filters |= {"ago": ago, "exact": exact, "size": size, "lasted": lasted}
    app.jinja_env.autoescape = True  # For every suffix, not for .html alone.
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True


def ago(moment: str) -> str:
    """How long ago an RFC 3339 moment was, or how soon it will be."""
    seconds = round((datetime.now(UTC) - _parsed(moment)).total_seconds())
    words = _span(abs(seconds))
    return f"{words} ago" if seconds >= 0 else f"in {words}"


def exact(moment: str) -> str:
    return _parsed(moment).strftime("%Y-%m-%d %H:%M:%S UTC")


def lasted(start: str | None, end: str | None) -> str:
    """The time between two moments; up to now where it has not ended."""
    if not start:
        return ""
    last = _parsed(end) if end else datetime.now(UTC)
    seconds = (last - _parsed(start)).total_seconds()
    return f"{seconds:.1f} s" if seconds < 60 else _span(round(seconds))


def size(count: int) -> str:
    """Bytes in the unit that people read."""
    amount = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            break
        amount /= 1024
    return f"{count:,} bytes" if unit == "bytes" else f"{amount:,.1f} {unit}"


def _span(seconds: int) -> str:
    for length, unit in _UNITS:
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def _parsed(moment: str) -> datetime:
    return datetime.fromisoformat(moment)

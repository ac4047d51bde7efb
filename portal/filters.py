"""How values read on pages: moments, sizes, durations."""

from datetime import UTC, datetime

from flask import Flask

from hub.queries.tasks import JobLog, StepTarget, TaskDetail

_LOGS = {
    "gap": "lines are missing from its log",
    "differs": "its log is not what the target says it printed",
    "truncated": "its log was cut: too long",
}
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def install(app: Flask) -> None:
    app.jinja_env.filters |= {
        "ago": ago,
        "agreement": agreement,
        "ended_processes": ended_processes,
        "exact": exact,
        "is_past": is_past,
        "lasted": lasted,
        "log_check": log_check,
        "outcome": outcome,
        "sentence": sentence,
        "size": size,
    }
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


def is_past(moment: str) -> bool:
    return _parsed(moment) <= datetime.now(UTC)


def outcome(target: StepTarget) -> str:
    """How a step went on one target: time, exit code, its message, and whether lines are missing."""
    words = (
        lasted(target.started_at, target.ended_at),
        f"exit {target.exit_code}" if target.exit_code else "",
        target.message,
        _LOGS.get(target.log, ""),
    )
    return " · ".join(word for word in words if word)


def agreement(log: JobLog) -> str:
    """Whether a log is the one that its outcome names."""
    if log.agrees is None:
        return "its outcome is not known" if log.state != "open" else "it goes on"
    return "as its outcome says" if log.agrees else "not what its outcome says"


def log_check(task: TaskDetail) -> str:
    """How many of a task's logs are here to the last byte, in one sentence."""
    logs = [log for step in task.steps for target in step.targets for log in target.logs]
    begun = [log for log in logs if log.records or log.missing or log.outcome_digest]
    if not begun:
        return "No log has come yet"
    whole = sum(log.agrees is True for log in begun)
    of = "log is" if len(begun) == 1 else "logs are"
    words = f"{whole} of {len(begun)} {of} here to the last byte, by the digest that the outcome names"
    missing = sum(bool(log.missing) for log in begun)
    return f"{words}; of {missing} some is missing" if missing else words


def ended_processes(task: TaskDetail) -> str:
    """How many processes a cancel ended, on all targets together."""
    count = sum(target.ended_processes or 0 for step in task.steps for target in step.targets)
    return "1 process ended" if count == 1 else f"{count} processes ended"


def sentence(words: str) -> str:
    """A detail as a sentence of its own."""
    words = words.strip()
    return f"{words[:1].upper()}{words[1:]}{'' if words.endswith(('.', '!', '?')) else '.'}" if words else ""


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

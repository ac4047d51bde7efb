"""How a file would differ, told on the log as a unified diff, and as an event for programs."""

from __future__ import annotations

from typing import List

from runner.deployment import RunningDeployment
from runner.differences import changes, unified

_SHOWN_BYTES = 1024**2
_SHOWN_LINES = 2000


def tell_difference(deployment: RunningDeployment, name: str, before: bytes | None, after: bytes | None) -> bool:
    """Tell what would change in a file; None stands for one that is not there.

    A file that is no text, or long, is named and not shown. Returns whether it would change at all.
    """
    if before == after:
        return False
    lines = _lines(name, before, after)
    added = sum(line.startswith("+") for line in lines[2:])
    removed = sum(line.startswith("-") for line in lines[2:])
    deployment.channel.event({"event": "file", "path": name, "added": added, "removed": removed})
    if not lines:
        change = "be new" if before is None else "change"
        deployment.say(f"{name} would {change}; it is no text, or too long to be shown")
    elif len(lines) > _SHOWN_LINES:
        deployment.say(f"{name} would change: {added} lines more, {removed} less, too many to be shown")
    else:
        deployment.say("\n".join(lines))
    return True


def _lines(name: str, before: bytes | None, after: bytes | None) -> List[str]:
    """The diff's lines without their ends; none where a side is no text, or long."""
    sides: List[List[str]] = []
    for content in (before or b"", after or b""):
        if len(content) > _SHOWN_BYTES or b"\0" in content:
            return []
        sides.append(content.decode("utf-8", "replace").splitlines())
    old, new = sides
    found = changes(old, new)
    old_name, new_name = ("/dev/null" if content is None else name for content in (before, after))
    hunks = [line for hunk in unified(old, new, found) for line in hunk] or ["the ends of its lines differ"]
    return [f"--- {old_name}", f"+++ {new_name}", *hunks]

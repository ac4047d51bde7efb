"""Crash points of the runner: named places where it ends itself by SIGKILL if it was told to; else they do nothing.

    MANYARM_CRASH_AT=outcome.written      there
    MANYARM_CRASH_AT=spool.written:3      there, when it comes by for the third time
    MANYARM_CRASH_AT=@FILE                as FILE says by then; whoever dies of it takes FILE away

wire/crash.py is the same for hub and spokes. A spoke hands the variable on to its supervisors, and no script sees it.
"""

from __future__ import annotations

import os
from typing import Dict

VARIABLE = "MANYARM_CRASH_AT"

_ORDER = os.environ.get(VARIABLE, "")
_passed: Dict[str, int] = {}


def _end_if_told(name: str) -> None:
    words = _told()
    wanted, _, times = words.partition(":")
    if name != wanted:
        return
    _passed[words] = _passed.get(words, 0) + 1
    if _passed[words] >= int(times or 1) and _is_ours():
        os.write(2, f"crash point {name}\n".encode("ascii"))
        os.kill(os.getpid(), 9)


def _told() -> str:
    if not _ORDER.startswith("@"):
        return _ORDER
    try:
        with open(_ORDER[1:], "rb") as file:  # noqa: PTH123  nothing else to import
            return file.read(200).decode("ascii", "replace").strip()
    except OSError:
        return ""


def _is_ours() -> bool:
    if not _ORDER.startswith("@"):
        return True
    try:
        os.unlink(_ORDER[1:])  # noqa: PTH108  nothing else to import
    except OSError:
        return False
    return True


def _pass_by(_name: str) -> None:
    """What a point is for everybody but a test."""


crash_point = _end_if_told if _ORDER else _pass_by

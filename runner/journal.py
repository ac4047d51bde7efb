"""The journal of deployments on this machine: lines of JSON, two for each deployment (begun, and how it ended).

    deployments.jsonl   the lines, oldest first; made shorter where it grows past its bound
    deployments.lock    held by whoever writes

A job that was ended by force has left its first line alone; `entries` shows it as `begun`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path
from typing import Any, Dict, Iterator, List, Set

NAME = "deployments.jsonl"
_LOCK = "deployments.lock"
_MAX_BYTES = 1024**2
# However much lies on the disk, reading the journal stays a matter of moments.
_MAX_ENTRIES = 10_000

Entry = Dict[str, Any]


def record(home: Path, entry: Entry, *, max_bytes: int = _MAX_BYTES) -> None:
    """Append one entry, durably, alone among the jobs that write at this moment."""
    line = json.dumps(entry).encode("ascii") + b"\n"
    with _writing(home):
        descriptor = os.open(home / NAME, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                # A crash has cut the last line short; ours must not be lost with it.
                line = b"\n" + line
            _write_all(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if size + len(line) > max_bytes:
            _shorten(home, max_bytes // 2)


def entries(home: Path) -> List[Entry]:
    """The last entry of every job, oldest first; a line that a crash cut short is left out."""
    found: Dict[str, Entry] = {}
    for number, entry in enumerate(_read(home)):
        job = str(entry.get("job") or number)
        found.pop(job, None)
        found[job] = entry
    return list(found.values())


def _read(home: Path) -> Iterator[Entry]:
    try:
        lines = (home / NAME).read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    for line in lines:
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict):
                yield entry


@contextlib.contextmanager
def _writing(home: Path) -> Iterator[None]:
    descriptor = os.open(home / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _shorten(home: Path, wanted_bytes: int) -> None:
    """Leave the newest entries, and older ones whose folder is still there; readers see the old file or the new."""
    kept: List[bytes] = []
    size = 0
    told: Set[str] = set()
    for entry in reversed(entries(home)):
        line = json.dumps(entry).encode("ascii") + b"\n"
        path = str(entry.get("path") or "")
        is_only_word = path not in told and path != "" and Path(path).is_dir()
        if len(kept) < _MAX_ENTRIES and (size + len(line) <= wanted_bytes or is_only_word):
            kept.append(line)
            size += len(line)
            told.add(path)
    part = home / f".{NAME}.part"
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        _write_all(descriptor, b"".join(reversed(kept)))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    part.replace(home / NAME)


def _write_all(descriptor: int, content: bytes) -> None:
    at = 0
    while at < len(content):
        at += os.write(descriptor, content[at:])

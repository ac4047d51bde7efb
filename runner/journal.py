"""The journal of deployments on this machine: one line of JSON for each package that was deployed, well or not."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Dict, List

NAME = "deployments.jsonl"


def record(home: Path, entry: Dict[str, Any]) -> None:
    """Append one entry, durably; entries of jobs that end at the same moment do not mix."""
    line = json.dumps(entry, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
    descriptor = os.open(home / NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    try:
        os.write(descriptor, line)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def entries(home: Path) -> List[Dict[str, Any]]:
    """Every entry, oldest first; a line that a crash cut short is left out."""
    try:
        lines = (home / NAME).read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    found: List[Dict[str, Any]] = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found

"""How the files of an installed package looked when it was done: enough to tell later whether one was changed.

One line for each file: `size mtime_ns mode name`, the name as JSON. What was not in the package is not looked at: logs
and data that a program writes beside its files change nothing.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Iterable


def write_looks(look: Path, folder: Path, names: Iterable[str]) -> None:
    """Write down how these files of a folder look now; those that scripts removed are left out."""
    lines = [f"{_look(folder / name)} {json.dumps(name)}\n" for name in names if os.path.lexists(folder / name)]
    descriptor = os.open(look, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write("".join(lines).encode("ascii"))


def changed_file(look: Path, folder: Path) -> str | None:
    """The first file that is gone or looks different; None where all are as they were.

    Raises:
        OSError: nobody wrote down how they looked.
        ValueError: what was written down cannot be read.
    """
    with look.open("rb") as lines:
        for line in lines:
            size, mtime, mode, name = line.split(b" ", 3)
            path = folder / json.loads(name)
            if not os.path.lexists(path) or _look(path) != b" ".join((size, mtime, mode)).decode("ascii"):
                return str(json.loads(name))
    return None


def _look(path: Path) -> str:
    found = os.lstat(path)
    # Of a link that a script made only where it is counts.
    size = found.st_size if stat.S_ISREG(found.st_mode) else 0
    return f"{size} {found.st_mtime_ns} {found.st_mode}"

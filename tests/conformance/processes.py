"""Whether the processes that scripts have started are there still."""

import os
from pathlib import Path

from tests.services.whole import until


def alive(pid: int) -> bool:
    """A process that waits for its parent to look is dead."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in {"Z", "X"}


def until_gone(pid: int) -> None:
    until(lambda: not alive(pid) or not os.path.exists(f"/proc/{pid}"), f"process {pid} does not end")

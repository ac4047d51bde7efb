"""What a process does before it holds keys: no core files, no ptrace by its own user, private new files."""

import contextlib
import ctypes
import os
import resource
import sys

_PR_SET_DUMPABLE = 4


def harden() -> None:
    """Call first thing in every process of the hub; children inherit the limits."""
    # A core file would hold every key that is in memory.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    if sys.platform == "linux":
        # Best effort: some containers forbid it, and the core limit stands all the same.
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)

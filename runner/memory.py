"""How much memory the runner's own work for a job may take: held by the kernel, told as a sentence where it is met.

Scripts are programs of their own and have what the machine gives them. What the runner does itself (expanding a text,
rewriting a file) stays below the same bound whatever the text or file holds, so that many jobs fit beside what the
machine is there for.
"""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Dict, Type

from runner.errors import StepFailed

RESIDENT_MAX_BYTES = 60_000_000
# Programs and libraries that are read meanwhile are resident, too, and are not counted as data.
_ASIDE_BYTES = 3_000_000


class within_memory:  # noqa: N801  a word of the language, as `suppress`
    """A `with` around work of the runner's own; programs must not be started inside, for they would inherit the bound.

    Args:
        what: The beginning of the sentence: what it is that would need too much.

    Raises:
        StepFailed: it would have taken this process above the bound.
    """

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        self._before = resource.getrlimit(resource.RLIMIT_DATA)
        held = _held()
        if held:
            most = held["VmData"] + max(0, RESIDENT_MAX_BYTES - _ASIDE_BYTES - held["VmRSS"])
            soft, hard = self._before
            known = [limit for limit in (most, soft, hard) if limit != resource.RLIM_INFINITY]
            resource.setrlimit(resource.RLIMIT_DATA, (min(known), hard))

    def __exit__(
        self, kind: Type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        resource.setrlimit(resource.RLIMIT_DATA, self._before)
        if isinstance(error, MemoryError):
            _let_go(trace)
            raise StepFailed(f"{self._what} would take more than {RESIDENT_MAX_BYTES // 1_000_000} MB of memory")


def _held() -> Dict[str, int]:
    """What this process has, in bytes; nothing where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text("ascii", "replace").splitlines()
        fields = {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}
        return {name: int(fields[name][0]) * 1024 for name in ("VmData", "VmRSS")}
    except (OSError, KeyError, ValueError):
        return {}


def _let_go(trace: TracebackType | None) -> None:
    """What the failed work held: its frames stand in the error's trace, behind the one that goes on."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
        with suppress(RuntimeError):
            trace.tb_frame.clear()

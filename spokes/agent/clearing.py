"""Takes away what only a run needed, once the hub has its end; the spool stays some days in case it is asked for."""

import logging
import threading
from collections.abc import Callable

from spokes.agent.errors import MachineUnreachable
from spokes.agent.job_folder import CANCEL, JOB, OUTCOME, WORK, folder_of
from spokes.agent.results import blanked
from spokes.agent.sites import Site
from spokes.agent.workers import Workers

logger = logging.getLogger(__name__)

# job.json last: while it is there, the rest may be too.
_NEEDED_BY_THE_RUN = (WORK, CANCEL, "reserve", JOB)
_FAR_AT_ONCE = 8


class Clearing:
    """Used by all threads; what lies far away is cleared by threads of its own.

    Args:
        done: Called when it is done, or cannot be done now.
    """

    def __init__(self, done: Callable[[str], None]) -> None:
        self._done = done
        self._workers = Workers(_FAR_AT_ONCE, "clear")
        self._lock = threading.Lock()
        self._blanked: dict[str, bytes] = {}

    def has_secrets(self, cid: str, outcome: bytes) -> None:
        """Its outcome must not stay as it is."""
        with self._lock:
            self._blanked[cid] = blanked(outcome)

    def clear(self, cid: str, site: Site) -> None:
        if site.far:
            self._workers.submit(lambda: self._clear_far(cid, site))
        else:
            self._clear(cid, site)
            self._done(cid)

    def after_a_kill(self, site: Site, unreported: set[str]) -> None:
        """A daemon may have died between a report and the clearing after it; secret outputs lie in the outcome."""
        for path in site.machine.list("jobs"):
            cid, _, name = path.partition("/")
            if name == OUTCOME and cid not in unreported and site.machine.list(f"jobs/{cid}", [JOB]):
                site.machine.remove([f"jobs/{cid}/{part}" for part in (OUTCOME, *_NEEDED_BY_THE_RUN)])

    def _clear_far(self, cid: str, site: Site) -> None:
        try:
            self._clear(cid, site)
        except MachineUnreachable as error:
            # The next daemon that comes there does it.
            logger.warning("job not cleared", extra={"job": cid, "why": str(error)})
        finally:
            self._done(cid)

    def _clear(self, cid: str, site: Site) -> None:
        folder = folder_of(cid)
        with self._lock:
            kept = self._blanked.pop(cid, None)
        if kept is not None:
            site.machine.put(folder, [(OUTCOME, kept)], durable=False)
        site.machine.remove([f"{folder}/{name}" for name in _NEEDED_BY_THE_RUN])

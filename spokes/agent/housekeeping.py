"""What a daemon does beside its work: says how it is in a file, forgets what is old, keeps within its space."""

import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from config.limits import SpokeLimits
from spokes.agent.errors import JournalFailed, MachineUnreachable
from spokes.agent.executor import JobExecutor
from spokes.agent.home import ID, SpokeHome
from spokes.agent.journal import Journal
from spokes.agent.private_files import write_private
from spokes.agent.sites import Site, Sites

logger = logging.getLogger(__name__)

_STATUS_EVERY_S = 2
_TIDY_EVERY_S = 3600


class Housekeeping:
    """Called once a second by the service's thread.

    Args:
        state: What the status file says of session and connection.
    """

    def __init__(
        self,
        home: SpokeHome,
        sites: Sites,
        journal: Journal,
        executor: JobExecutor,
        limits: SpokeLimits,
        *,
        state: Callable[[], dict[str, Any]],
    ) -> None:
        self._home = home
        self._sites = sites
        self._journal = journal
        self._executor = executor
        self._limits = limits
        self._state = state
        self._status_at = 0.0
        self._tidied_at = 0.0

    def __call__(self) -> None:
        now = time.monotonic()
        if now - self._status_at >= _STATUS_EVERY_S:
            self._status_at = now
            self._write_status()
        if now - self._tidied_at >= _TIDY_EVERY_S:
            self._tidied_at = now
            self._tidy()

    def _write_status(self) -> None:
        status = {"at": int(time.time()), "jobs": list(self._executor.active), **self._state()}
        try:
            write_private(self._home.status, json.dumps(status).encode(), durable=False)
        except OSError as error:
            logger.warning("status not written", extra={"why": str(error)})

    def _tidy(self) -> None:
        try:
            self._journal.prune(int(time.time()), self._limits.journal_keep_s)
        except JournalFailed as error:
            logger.warning("journal not pruned", extra={"why": str(error)})
        for site in self._sites.known():
            if site.far:
                threading.Thread(target=self._tidy_site, args=(site,), name="tidy", daemon=True).start()
            else:
                self._tidy_site(site)

    def _tidy_site(self, site: Site) -> None:
        try:
            self._remove_old_folders(site)
            site.packages.evict()
            site.runners.prune(self._executor.runners_in_use())
        except (OSError, JournalFailed, MachineUnreachable) as error:
            logger.warning("tidying up failed", extra={"why": str(error)})

    def _remove_old_folders(self, site: Site) -> None:
        """Folders whose end the hub has: the old ones, and the oldest where all of them are too large."""
        busy = {entry.cid for entry in self._journal.unreported()} | set(self._executor.active)
        ended_at: dict[str, int] = {}
        size: dict[str, int] = {}
        for path, entry in site.machine.list("jobs").items():
            cid = path.split("/", 1)[0]
            size[cid] = size.get(cid, 0) + entry.size
            ended_at[cid] = max(ended_at.get(cid, 0), entry.used_at)
        kept = sum(size.values())
        now = time.time()
        for cid in sorted(ended_at, key=ended_at.__getitem__):
            is_old = now - ended_at[cid] > self._limits.spool_keep_s
            goes = is_old or kept > self._limits.spool_keep_bytes
            if cid in busy or not ID.fullmatch(cid) or not goes:
                continue
            site.machine.remove([f"jobs/{cid}"])
            kept -= size[cid]
            logger.info("job folder removed", extra={"job": cid})

"""Follows a run on a target: asked for what is new and answered when there is something; an outage is waited out."""

import logging
import time
from collections.abc import Mapping
from typing import Any

from spokes.agent.errors import MachineUnreachable, SpoolDamaged
from spokes.agent.machine import Seen
from spokes.agent.spool import OVERHEAD, RECORD_MAX, Position, after_whole_records
from spokes.remote.connecting import Connecting
from spokes.remote.link import Fault
from spokes.remote.shipped import ShippedPlaces
from wire.errors import Refused

logger = logging.getLogger(__name__)

# A supervisor that was started writes its name within this time, or never.
_APPEARS_WITHIN_S = 10.0
# The hub has given up on a task by then.
GIVE_UP_S = 86_400.0
_GRACE_S = 30.0
_PAUSE_S = 0.5


class RemoteWatch:
    """Used by one thread."""

    def __init__(self, connecting: Connecting, cid: str, places: ShippedPlaces) -> None:
        self._connecting = connecting
        self._cid = cid
        self._places = places
        self._outcome: bytes | None = None
        self._nobody_since: float | None = None
        self._cut_off_since: float | None = None
        self._swept = False
        self._ended = 0
        self.position = places.load(cid)

    def read(self, limit: int, wait_s: float) -> Seen:
        """As `Watch.read`; a target that cannot be reached has nothing new.

        Raises:
            SpoolDamaged: As there.
            MachineUnreachable: For longer than anybody waits, or it is another machine now.
        """
        try:
            found = self._ask(limit, wait_s)
        except Refused as refusal:
            raise MachineUnreachable(str(refusal)) from refusal
        except Fault as fault:
            raise SpoolDamaged(f"the job's folder on the target cannot be read: {fault}") from fault
        except MachineUnreachable as error:
            return self._nothing_new(error, wait_s)
        self._cut_off_since = None
        shown, body = found
        spool = body[: shown["spool"]]
        if shown["outcome"]:
            self._outcome = body[shown["spool"] :]
        after = after_whole_records(spool, self.position, limit)
        data = spool[: after.offset - self.position.offset]
        self.position = after
        lost = not data and self._outcome is None and self._is_lost(shown["supervisor"])
        return Seen(data, after, self._outcome, lost, ended=self._sweep() if lost else 0)

    def go_back(self, position: Position) -> None:
        self.position = position

    def confirmed(self, position: Position) -> None:
        self._places.save(self._cid, position)

    def close(self) -> None:
        """The hand forgets it too, where there is one."""
        try:
            if not self._connecting.rest(float("inf")):
                self._connecting.link().ask("unwatch", cid=self._cid)
        except (MachineUnreachable, Refused, Fault) as error:
            logger.debug("watch not closed there", extra={"job": self._cid, "why": str(error)})

    def _ask(self, limit: int, wait_s: float) -> tuple[Mapping[str, Any], bytes]:
        reply = self._connecting.link().ask(
            "watch",
            timeout_s=wait_s + _GRACE_S,
            cid=self._cid,
            offset=self.position.offset,
            size=max(limit, RECORD_MAX + OVERHEAD),
            wait=wait_s,
            outcome=self._outcome is None,
        )
        return reply.shown, reply.body

    def _nothing_new(self, error: MachineUnreachable, wait_s: float) -> Seen:
        now = time.monotonic()
        if self._cut_off_since is None:
            self._cut_off_since = now
            logger.info("run out of sight", extra={"job": self._cid, "why": str(error)})
        if now - self._cut_off_since > GIVE_UP_S:
            raise error
        time.sleep(min(wait_s, _PAUSE_S))
        return Seen(b"", self.position, None, lost=False, cut_off=True)

    def _is_lost(self, supervisor: str) -> bool:
        if supervisor != "none":
            self._nobody_since = None
            return supervisor == "dead"
        now = time.monotonic()
        if self._nobody_since is None:
            self._nobody_since = now
        return now - self._nobody_since > _APPEARS_WITHIN_S

    def _sweep(self) -> int:
        """End what a dead supervisor has left behind, once; how many processes that was."""
        if self._swept:
            return self._ended
        self._swept = True
        try:
            self._ended = int(self._connecting.ask("end", cid=self._cid).shown["count"])
        except (MachineUnreachable, Refused, Fault) as error:
            logger.warning("a dead supervisor's processes may live", extra={"job": self._cid, "why": str(error)})
            return 0
        if self._ended:
            logger.warning("processes of a dead supervisor ended", extra={"job": self._cid, "count": self._ended})
        return self._ended

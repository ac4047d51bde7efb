"""A witness of the hub's audit log: keeps the newest checkpoint that it was shown, and says when the hub went back.

What was said of the log stays said: an older checkpoint, or another one for the same event, is an alarm that is kept
until somebody takes its file away. In a new epoch, which the root has signed, the log may be shorter.
"""

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

from spokes.agent.errors import HomeUnsafe
from spokes.agent.private_files import read_private, write_private
from wire.checkpoint import ChainPoint, check_forward, open_checkpoint
from wire.errors import Code, Refused
from wire.roles import Role
from wire.trust import TrustChain

logger = logging.getLogger(__name__)

# Two nodes of one hub may show a little less and a little more within moments.
_SETTLED_S = 5.0


class Witness:
    """Used by the service's thread; `alarm` and `seen` may be read by any."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._newest = folder / "checkpoint"
        self._alarm = folder / "audit-alarm.json"
        self._clock = clock
        self._held: ChainPoint | None = None
        self._since = float("-inf")
        self._note = self._read(self._newest)
        self.alarm = self._read(self._alarm)

    @property
    def seen(self) -> str:
        """What is known of the log, in words; "" for nothing."""
        return "" if self._held is None else f"{self._held.seq} events in epoch {self._held.epoch}"

    def shown(self, note: str, hub_id: str, trust: TrustChain) -> None:
        """Keep it if it is newer; one that no key of the hub signed says nothing."""
        if not note or (note == self._note and self._held is not None):
            return
        keys = trust.ever(Role.HUB_AUDIT)
        try:
            if self._held is None and self._note:
                self._held = open_checkpoint(self._note, hub_id, keys)
            point = open_checkpoint(note, hub_id, keys)
            check_forward(self._held, point)
        except Refused as refusal:
            self._refuse(note, refusal)
            return
        self._held, self._note, self._since = point, note, self._clock()
        self._write(self._newest, note)

    def _refuse(self, note: str, refusal: Refused) -> None:
        if refusal.code is not Code.AUDIT_ROLLBACK:
            logger.warning("checkpoint ignored", extra={"why": refusal.detail})
        elif self._clock() - self._since >= _SETTLED_S:
            logger.error("AUDIT_ROLLBACK", extra={"why": refusal.detail})
            self.alarm = json.dumps({"at": int(time.time()), "why": refusal.detail, "held": self._note, "shown": note})
            self._write(self._alarm, self.alarm)

    def _read(self, path: Path) -> str:
        try:
            return read_private(path).decode("utf-8", "replace")
        except (FileNotFoundError, HomeUnsafe):
            return ""

    def _write(self, path: Path, text: str) -> None:
        try:
            write_private(path, text.encode())
        except OSError as error:
            logger.warning("checkpoint not stored", extra={"why": str(error)})

"""Keeps the beginnings of messages that nobody may act on, the newest hundred, for a person to look at."""

import logging
import threading
import time
from pathlib import Path

from spokes.agent.private_files import make_private_folder, write_private
from wire.errors import Refused

logger = logging.getLogger(__name__)

KEPT = 100
HEAD_BYTES = 4096
_TELL_EVERY_S = 60.0


class Quarantine:
    """A ring of files; a flood makes one line a minute in the log."""

    def __init__(self, folder: Path) -> None:
        make_private_folder(folder)
        self._folder = folder
        self._lock = threading.Lock()
        self._told_at = -_TELL_EVERY_S
        self.counts: dict[str, int] = {}

    def keep(self, frame: bytes, code: str, detail: str) -> None:
        with self._lock:
            total = sum(self.counts.values())
            self.counts[code] = self.counts.get(code, 0) + 1
            try:
                write_private(self._folder / f"{total % KEPT:03d}.frame", frame[:HEAD_BYTES], durable=False)
            except OSError as error:
                logger.warning("quarantine not written", extra={"why": str(error)})
            now = time.monotonic()
            if now - self._told_at >= _TELL_EVERY_S:
                self._told_at = now
                logger.warning("messages refused", extra={"code": code, "detail": detail, "so_far": dict(self.counts)})

    def refused(self, frame: bytes, refusal: Refused) -> None:
        self.keep(frame, refusal.code, refusal.detail)

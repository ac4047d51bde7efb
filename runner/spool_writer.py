"""Writing the spool: lines gathered into records, flushed by size or after 50 ms, capped, never cut by a full disk."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from typing import Any, Dict, List

from runner.contract.spool import CHAIN_START, CONTENT_MAX_BYTES, Kind, Stream, encode_record
from runner.errors import SpoolFull

FLUSH_AFTER_S = 0.05


class SpoolWriter:
    """Appends to one spool, which must not exist yet.

    Args:
        path: Where the spool lies.
        out_bytes: Bytes of a script's output that are kept; the runner's own words do not count.
    """

    def __init__(self, path: Path, out_bytes: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)
        self._left = self._allowed = out_bytes
        self._pending: List[bytes] = []
        self._pending_size = 0
        self._stream = Stream.NONE
        self._since = 0.0
        self._since_ms = 0
        self._full = False
        self.records = 0
        self.size = 0
        self.chain = CHAIN_START
        self.truncated = False

    def output(self, stream: Stream, lines: bytes) -> None:
        """A script's masked lines; past the cap they are counted as lost, once, and dropped."""
        if self.truncated or not lines:
            return
        if len(lines) > self._left:
            kept = lines[: self._left]
            # Whole lines are kept, and the beginning of a line that is longer than all that is left.
            self.text(stream, kept[: kept.rfind(b"\n") + 1] if b"\n" in lines else kept)
            self.truncated = True
            self.event({"event": "truncated", "bytes": self._allowed})
            self.text(Stream.WARNING, b"output truncated at %d bytes; the job goes on\n" % self._allowed)
            return
        self._left -= len(lines)
        self.text(stream, lines)

    def text(self, stream: Stream, lines: bytes) -> None:
        """Masked lines of one stream, in order with all others."""
        if not lines:
            return
        if stream is not self._stream:
            self.flush()
            self._stream = stream
        if not self._pending:
            self._since, self._since_ms = time.monotonic(), time.time_ns() // 1_000_000
        self._pending.append(lines)
        self._pending_size += len(lines)
        if self._pending_size >= CONTENT_MAX_BYTES:
            self._write_pending(keep_rest=True)

    def event(self, body: Dict[str, Any]) -> None:
        self.flush()
        content = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        self._write(Kind.EVENT, time.time_ns() // 1_000_000, Stream.NONE, content[:CONTENT_MAX_BYTES])

    def due_in_s(self) -> float | None:
        """Seconds until `flush` must be called; None where nothing waits."""
        return max(0.0, self._since + FLUSH_AFTER_S - time.monotonic()) if self._pending else None

    def flush(self) -> None:
        if self._pending:
            self._write_pending(keep_rest=False)

    def close(self) -> None:
        """Write what waits and make it durable."""
        self.flush()
        os.fsync(self._descriptor)
        os.close(self._descriptor)

    def stop(self) -> None:
        """Write nothing more: the disk is full. What was written stays whole."""
        self._full = True
        self._pending = []

    def _write_pending(self, *, keep_rest: bool) -> None:
        """Records cut at line ends where there are any; with `keep_rest` a last short one waits for more."""
        data = b"".join(self._pending)
        at = 0
        while len(data) - at >= CONTENT_MAX_BYTES:
            line_end = data.rfind(b"\n", at, at + CONTENT_MAX_BYTES) + 1
            stop = line_end if line_end > at else at + CONTENT_MAX_BYTES
            self._write(Kind.TEXT, self._since_ms, self._stream, data[at:stop])
            at = stop
        rest = data[at:]
        if rest and not keep_rest:
            self._write(Kind.TEXT, self._since_ms, self._stream, rest)
            rest = b""
        self._pending = [rest] if rest else []
        self._pending_size = len(rest)

    def _write(self, kind: Kind, at: int, stream: Stream, content: bytes) -> None:
        if self._full:
            return
        record, chain = encode_record(self.records, kind, at, stream, content, chain=self.chain)
        try:
            written = os.write(self._descriptor, record)
            while written < len(record):
                written += os.write(self._descriptor, record[written:])
        except OSError as error:
            os.ftruncate(self._descriptor, self.size)
            self.stop()
            reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error.strerror)
            raise SpoolFull(f"output cannot be written any more: {reason}") from error
        self.records += 1
        self.size += len(record)
        self.chain = chain

"""Writing the spool: lines make records, records make writes, by size or after 50 ms; capped; whole on a full disk."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from typing import Any, Dict, List

from runner.contract.spool import CHAIN_START, CONTENT_MAX_BYTES, Kind, Stream, encode_record
from runner.crash import crash_point
from runner.errors import SpoolFull

FLUSH_AFTER_S = 0.05
WRITE_BYTES = 256 * 1024


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
        # Lines of one stream that make one record, then records that make one write.
        self._lines: List[bytes] = []
        self._lines_size = 0
        self._lines_at = 0
        self._stream = Stream.NONE
        self._records: List[bytes] = []
        self._records_size = 0
        self._chain = CHAIN_START
        self._since = 0.0
        self._full = False
        self._synced = 0
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
            self._end_record()
            self._stream = stream
        self._begin_waiting()
        if not self._lines:
            self._lines_at = _now_ms()
        self._lines.append(lines)
        self._lines_size += len(lines)
        if self._lines_size >= CONTENT_MAX_BYTES:
            self._end_records(keep_rest=True)
            self._write()

    def event(self, body: Dict[str, Any]) -> None:
        """What happened, in order with all lines; written with them."""
        self._end_record()
        self._begin_waiting()
        content = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        self._add(Kind.EVENT, _now_ms(), Stream.NONE, content[:CONTENT_MAX_BYTES])

    def due_in_s(self) -> float | None:
        """Seconds until `flush` must be called; None where nothing waits."""
        return max(0.0, self._since + FLUSH_AFTER_S - time.monotonic()) if self._is_waiting else None

    def flush(self) -> None:
        """Write what waits."""
        self._end_record()
        self._write()

    def sync(self) -> None:
        """Write what waits and make it durable."""
        self.flush()
        if self._synced < self.size:
            os.fsync(self._descriptor)
            self._synced = self.size

    def close(self) -> None:
        self.sync()
        os.close(self._descriptor)

    def stop(self) -> None:
        """Write nothing more: the disk is full. What was written stays whole."""
        self._full = True
        self._lines, self._records = [], []

    @property
    def _is_waiting(self) -> bool:
        return bool(self._lines or self._records)

    def _begin_waiting(self) -> None:
        if not self._is_waiting:
            self._since = time.monotonic()

    def _end_record(self) -> None:
        if self._lines:
            self._end_records(keep_rest=False)

    def _end_records(self, *, keep_rest: bool) -> None:
        """Records cut at line ends where there are any; with `keep_rest` a last short one waits for more."""
        data = b"".join(self._lines)
        at = 0
        while len(data) - at >= CONTENT_MAX_BYTES:
            line_end = data.rfind(b"\n", at, at + CONTENT_MAX_BYTES) + 1
            stop = line_end if line_end > at else _between_characters(data, at + CONTENT_MAX_BYTES)
            self._add(Kind.TEXT, self._lines_at, self._stream, data[at:stop])
            at = stop
        rest = data[at:]
        if rest and not keep_rest:
            self._add(Kind.TEXT, self._lines_at, self._stream, rest)
            rest = b""
        self._lines = [rest] if rest else []
        self._lines_size = len(rest)

    def _add(self, kind: Kind, at: int, stream: Stream, content: bytes) -> None:
        if self._full:
            return
        number = self.records + len(self._records)
        record, self._chain = encode_record(number, kind, at, stream, content, chain=self._chain)
        self._records.append(record)
        self._records_size += len(record)
        if self._records_size >= WRITE_BYTES:
            self._write()

    def _write(self) -> None:
        if not self._records:
            return
        data = b"".join(self._records)
        try:
            written = os.write(self._descriptor, data)
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
            crash_point("spool.written")
        except OSError as error:
            os.ftruncate(self._descriptor, self.size)
            self.stop()
            reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error.strerror)
            raise SpoolFull(f"output cannot be written any more: {reason}") from error
        self.records += len(self._records)
        self.size += len(data)
        self.chain = self._chain
        self._records = []
        self._records_size = 0


def _between_characters(data: bytes, stop: int) -> int:
    """Where a line that is longer than a record is cut: there, or before the character that lies across it."""
    for back in range(min(4, stop)):
        if stop - back < len(data) and data[stop - back] & 0xC0 != 0x80:
            return stop - back
    return stop


def _now_ms() -> int:
    return time.time_ns() // 1_000_000

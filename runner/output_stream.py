"""From a script's bytes to the spool: service lines taken out, secrets masked, whole lines handed on."""

from __future__ import annotations

from typing import Callable, List

from runner.contract.masking import Masker, Patterns
from runner.contract.service_messages import FRAME_MAX_BYTES, LINE_START
from runner.contract.spool import Stream
from runner.spool_writer import SpoolWriter

LINE_MAX_BYTES = 16 * 1024


class OutputStream:
    """One of a script's two streams."""

    def __init__(self, stream: Stream, known: Patterns, spool: SpoolWriter, service_lines: ServiceLines) -> None:
        self._stream = stream
        self._known = known
        self._masker = Masker(known)
        self._spool = spool
        self._service_lines = service_lines
        self._tail = b""

    def feed(self, data: bytes) -> None:
        text = self._service_lines.feed(data)
        # Past the cap nothing is kept, so nothing needs masking; service lines still count.
        if text and not self._spool.truncated:
            self._hand_on(self._masker.feed(text))

    def finish(self) -> None:
        """The script ended: what waits for the rest of its line goes out as it is."""
        rest = self._masker.feed(self._service_lines.flush()) + self._masker.flush()
        lines, self._tail = self._tail + rest, b""
        self._spool.output(self._stream, lines)

    def _hand_on(self, masked: bytes) -> None:
        cut = masked.rfind(b"\n") + 1
        if cut:
            self._spool.output(self._stream, self._tail + masked[:cut])
            self._tail = masked[cut:]
        else:
            self._tail += masked
        if len(self._tail) > LINE_MAX_BYTES:
            self._spool.output(self._stream, self._tail)
            self._tail = b""


class ServiceLines:
    """Takes lines of the form `##manyarm[<run token>] {json}` out of a stream; anything less exact is text."""

    def __init__(self, token: str, on_message: Callable[[bytes], None]) -> None:
        self._start = LINE_START + token.encode("ascii") + b"] "
        self._on_message = on_message
        self._held = b""
        self._at_line_start = True

    def feed(self, data: bytes) -> bytes:
        data = self._held + data
        self._held = b""
        text = self._without_messages(data) if self._start in data else data
        return self._hold_start(text)

    def flush(self) -> bytes:
        held, self._held = self._held, b""
        if held.startswith(self._start):
            self._on_message(held[len(self._start) :])
            return b""
        return held

    def _without_messages(self, data: bytes) -> bytes:
        kept: List[bytes] = []
        for number, line in enumerate(_lines(data)):
            begins = number > 0 or self._at_line_start
            if begins and line.startswith(self._start) and line.endswith(b"\n"):
                self._on_message(line[len(self._start) :].rstrip(b"\r\n"))
            else:
                kept.append(line)
        return b"".join(kept)

    def _hold_start(self, text: bytes) -> bytes:
        """Hold back an unfinished last line that is, or may become, a service line."""
        cut = text.rfind(b"\n") + 1
        begins = cut > 0 or self._at_line_start
        tail = text[cut:]
        may_be = tail.startswith(self._start) or self._start.startswith(tail)
        if begins and tail and may_be and len(tail) <= FRAME_MAX_BYTES:
            self._held, text = tail, text[:cut]
            tail = b""
        if text:
            self._at_line_start = not tail
        return text


def _lines(data: bytes) -> List[bytes]:
    parts = data.split(b"\n")
    lines = [part + b"\n" for part in parts[:-1]]
    return [*lines, parts[-1]] if parts[-1] else lines

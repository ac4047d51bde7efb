"""A pika connection that hands its socket one piece for a burst of messages, at once, instead of three for each message
at the next turn of its loop.

pika gives the socket a message's method, header and body one after the other, each a system call with the interpreter's
lock let go and taken again; and it asks the kernel first whether it may: a turn of the loop, and two calls more.
It has no other place for this: `tests/wire/test_amqp.py` fails if a release moves it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pika.adapters.select_connection import SelectConnection
from pika.adapters.utils.io_services_utils import _AsyncPlaintextTransport

_PIECE_BYTES = 64 * 1024


class GatheringConnection(SelectConnection):  # type: ignore[misc]  # pika is not typed for a checker
    """Of the I/O thread alone."""

    _gathered: list[bytes] | None = None

    @contextmanager
    def gathering(self) -> Iterator[None]:
        """What is sent in this block goes to the socket together, in order."""
        if self._gathered is not None:
            yield
            return
        self._gathered = []
        try:
            yield
        finally:
            gathered, self._gathered = self._gathered, None
            self._output_marshaled_frames(gathered)

    def _output_marshaled_frames(self, marshaled_frames: Sequence[bytes]) -> None:
        if self._gathered is not None:
            self._gathered.extend(marshaled_frames)
        else:
            super()._output_marshaled_frames(list(_joined(marshaled_frames)))

    def _adapter_emit_data(self, data: bytes) -> None:
        rest = data[self._sent_at_once(data) :]
        if rest:
            super()._adapter_emit_data(rest)

    def _sent_at_once(self, data: bytes) -> int:
        """How much of it the socket has taken; what goes wrong here goes wrong for pika too, who knows what to do."""
        transport = self._transport
        # What waits goes first; TLS may want to read before it writes.
        if type(transport) is not _AsyncPlaintextTransport or transport.get_write_buffer_size():
            return 0
        try:
            sent: int = transport._sock.send(data)  # noqa: SLF001  see above
        except OSError:
            return 0
        return sent


def _joined(frames: Sequence[bytes]) -> Iterator[bytes]:
    """Small frames together; what the socket does not take at once is copied, so no piece is long for that."""
    waiting: list[bytes] = []
    size = 0
    for frame in frames:
        if size + len(frame) > _PIECE_BYTES and waiting:
            yield b"".join(waiting)
            waiting, size = [], 0
        waiting.append(frame)
        size += len(frame)
    if waiting:
        yield b"".join(waiting)

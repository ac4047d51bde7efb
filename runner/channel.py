"""How the worker tells the supervisor what it does: frames of JSON over a socket pair that no script inherits."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from typing import Any, Dict, List

from runner.contract.service_messages import frame
from runner.contract.spool import Stream
from runner.stopping import without_sigterm

_READ_BYTES = 64 * 1024


class WorkerChannel:
    """The worker's end."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._buffer = bytearray()

    def say(self, stream: Stream, text: str) -> None:
        """The runner's own words, one line or several."""
        self._send({"say": int(stream), "text": text})

    def event(self, body: Dict[str, Any]) -> None:
        self._send({"event": body})

    def output(self, name: str, value: str) -> None:
        self._send({"output": name, "value": value})

    def variable(self, name: str, value: str) -> None:
        self._send({"variable": name, "value": value})

    def artifact(self, artifact: Dict[str, Any]) -> None:
        self._send({"artifact": artifact})

    def spare(self, pid: int) -> None:
        """A process that is the machine's and not the job's, though it was begun here: it outlives a cancel too."""
        self._send({"spare": pid})

    def script_ended(self) -> Dict[str, Any]:
        """Have all that the script said taken in; returns what it left, as the supervisor puts it."""
        self._send({"script_ended": True})
        return self._receive()

    def done(self, state: str, exit_code: int | None, message: str) -> None:
        self._send({"done": state, "exit_code": exit_code, "message": message})

    def leave(self) -> None:
        """Say that nothing more comes, and return when the supervisor lets go."""
        with suppress(OSError):
            self._end.shutdown(socket.SHUT_WR)
            while self._end.recv(_READ_BYTES):
                continue

    def told(self) -> Dict[str, Any] | None:
        """What the supervisor says next, waited for; None where it went away."""
        try:
            return self._receive()
        except ConnectionError:
            return None

    def _send(self, body: Dict[str, Any]) -> None:
        # Half a message would be the last one that the supervisor understands.
        with without_sigterm():
            self._end.sendall(frame(json.dumps(body).encode("ascii")))

    def _receive(self) -> Dict[str, Any]:
        while (end := _first_end(self._buffer)) is None:
            piece = self._end.recv(_READ_BYTES)
            if not piece:
                raise ConnectionError("the supervisor is gone")
            self._buffer += piece
        answer: Dict[str, Any] = json.loads(bytes(self._buffer[4:end]))
        del self._buffer[:end]
        return answer


class SupervisorChannel:
    """The supervisor's end; never blocks while reading."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._end.setblocking(False)
        self._buffer = bytearray()
        self.is_closed = False

    def fileno(self) -> int:
        return self._end.fileno()

    def close(self) -> None:
        self._end.close()

    def receive(self) -> List[Dict[str, Any]]:
        """Every whole message that has come."""
        while True:
            try:
                piece = self._end.recv(_READ_BYTES)
            except BlockingIOError:
                break
            except ConnectionError:
                piece = b""
            if not piece:
                self.is_closed = True
                break
            self._buffer += piece
        return self._whole_messages()

    def answer(self, body: Dict[str, Any]) -> None:
        """Tell the worker what it waits for: its job, the go, or how things stand after a script."""
        # It waits for nothing but this, so it reads at once.
        self._end.setblocking(True)
        try:
            self._end.sendall(frame(json.dumps(body).encode("ascii")))
        except OSError:
            self.is_closed = True
        self._end.setblocking(False)

    def _whole_messages(self) -> List[Dict[str, Any]]:
        found: List[Dict[str, Any]] = []
        at = 0
        while len(self._buffer) - at >= 4:
            stop = at + 4 + int.from_bytes(self._buffer[at : at + 4], "big")
            if stop > len(self._buffer):
                break
            found.append(json.loads(bytes(self._buffer[at + 4 : stop])))
            at = stop
        del self._buffer[:at]
        return found


def _first_end(buffer: bytearray) -> int | None:
    """Where the first message ends; None while it is not whole."""
    end = 4 + int.from_bytes(buffer[:4], "big")
    return end if len(buffer) >= max(4, end) else None

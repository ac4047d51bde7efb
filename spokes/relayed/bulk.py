"""The gateway as a listening spoke reaches it: requests over bulk connections for which it has asked its relay.

The relay passes on what the gateway gives anybody with the same capability: public documents and ciphertext. What comes
back is judged as if it came from the gateway itself, which is not trusted either.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import TimeoutError as NotInTime
from contextlib import contextmanager
from typing import Any, TypeVar

from spokes.agent.errors import GatewayUnreachable
from spokes.agent.gateway import GatewayAnswer, GatewayDoor
from wire import hop
from wire.errors import ConnectionLost, Refused
from wire.trust import TrustDocument
from wire.websocket import WebSocket

logger = logging.getLogger(__name__)

Done = TypeVar("Done")
PIECE_MAX = 256 * 1024
_LINES_MOST = 2
_LINE_WITHIN_S = 20.0


class RelayedGateway(GatewayDoor):
    """Asked by any thread; one request at a time on each of at most two connections.

    Args:
        ask_for_line: Tells the relay that one more connection is wanted; False where there is no relay.
        believe: Told of each trust document in force.
        timeout_s: Silence on a connection.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        ask_for_line: Callable[[], bool],
        believe: Callable[[TrustDocument], None],
        timeout_s: float,
    ) -> None:
        self._loop = loop
        self._ask_for_line = ask_for_line
        self._believe = believe
        self._timeout_s = timeout_s
        self._changed = threading.Condition()
        self._idle: list[WebSocket] = []
        self._busy = 0

    def believe(self, document: TrustDocument) -> None:
        self._believe(document)

    async def attend(self, websocket: WebSocket) -> None:
        """Keep one bulk connection for requests until it ends."""
        with self._changed:
            self._idle.append(websocket)
            self._changed.notify_all()
        try:
            await websocket.ended()
        finally:
            with self._changed:
                if websocket in self._idle:
                    self._idle.remove(websocket)

    @contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        *,
        body: bytes | Iterable[bytes] | None = None,
        capability: str = "",
        pinned: bool = False,  # noqa: ARG002  Nobody on this way is trusted with more than ciphertext.
    ) -> Iterator[GatewayAnswer]:
        line = _Line(self._taken(), self._loop, self._timeout_s)
        try:
            line.ask(hop.Ask(method, path, capability, body is not None), body)
            yield line
        except (ConnectionLost, NotInTime) as error:
            raise GatewayUnreachable(f"the relay brings nothing from the gateway: {error or 'it is silent'}") from error
        finally:
            self._give_back(line)

    def _taken(self) -> WebSocket:
        with self._changed:
            self._idle = [websocket for websocket in self._idle if websocket.is_open]
            if not self._idle and self._busy < _LINES_MOST and not self._ask_for_line():
                raise GatewayUnreachable("no relay is connected, and the gateway is reached through one alone")
            if not self._changed.wait_for(lambda: self._idle, _LINE_WITHIN_S):
                raise GatewayUnreachable("the relay has opened no connection for bulk")
            self._busy += 1
            return self._idle.pop()

    def _give_back(self, line: "_Line") -> None:
        with self._changed:
            self._busy -= 1
            if line.finished:
                self._idle.append(line.websocket)
            else:
                # What is still on its way would be taken for the next answer.
                self._loop.call_soon_threadsafe(line.websocket.abort)
            self._changed.notify_all()


class _Line:
    """One request on a bulk connection, and its answer as a file."""

    def __init__(self, websocket: WebSocket, loop: asyncio.AbstractEventLoop, timeout_s: float) -> None:
        self.websocket = websocket
        self.finished = False
        self.status = 0
        self._loop = loop
        self._timeout_s = timeout_s
        self._held = bytearray()
        self._count = 0

    def ask(self, ask: hop.Ask, body: bytes | Iterable[bytes] | None) -> None:
        self._wait(self.websocket.send(hop.write(ask)))
        if body is not None:
            self._send_body((body,) if isinstance(body, bytes) else body)
        answer = self._word()
        if not isinstance(answer, hop.Answer):
            raise _broken(answer)
        self.status = answer.status

    def read(self, amt: int | None = None) -> bytes:
        while not self.finished and (amt is None or len(self._held) < amt):
            self._read_on()
        size = len(self._held) if amt is None else min(amt, len(self._held))
        piece = bytes(self._held[:size])
        del self._held[:size]
        return piece

    def _send_body(self, pieces: Iterable[bytes]) -> None:
        size = 0
        for piece in pieces:
            for at in range(0, len(piece), PIECE_MAX):
                part = bytes(piece[at : at + PIECE_MAX])
                size += len(part)
                self._wait(self.websocket.send(part))
        self._wait(self.websocket.send(hop.write(hop.End(size))))

    def _read_on(self) -> None:
        message = self._wait(self.websocket.receive())
        if isinstance(message, bytes):
            self._count += len(message)
            self._held += message
            return
        word = _read(message)
        if not isinstance(word, hop.End) or word.size != self._count:
            raise _broken(word)
        self.finished = True

    def _word(self) -> hop.Word:
        message = self._wait(self.websocket.receive())
        if isinstance(message, bytes):
            raise ConnectionLost("a piece came before the answer")
        return _read(message)

    def _wait(self, work: Coroutine[Any, Any, Done]) -> Done:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(self._timeout_s)
        except NotInTime:
            future.cancel()
            raise


def _read(text: str) -> hop.Word:
    try:
        return hop.read(text)
    except Refused as refusal:
        raise ConnectionLost(f"the relay said what it may not: {refusal.code}") from refusal


def _broken(word: hop.Word) -> ConnectionLost:
    return ConnectionLost(word.why if isinstance(word, hop.Broken) else "it broke off")

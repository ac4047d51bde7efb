"""Bulk, passed on: a spoke's requests go to the gateway and the answers come back, in pieces, all of it ciphertext.

Only what a spoke needs is passed on, and only so much is in memory as one piece a request.
"""

import asyncio
import logging
import re
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime
from typing import Any, TypeVar

from spokes.agent.errors import GatewayUnreachable
from spokes.relaying.hub_door import HubDoor
from wire import hop
from wire.errors import Code, ConnectionLost, Refused
from wire.websocket import WebSocket

logger = logging.getLogger(__name__)

Done = TypeVar("Done")
PIECE = 256 * 1024
_ALLOWED = tuple(
    (method, re.compile(path, re.ASCII), body_max)
    for method, path, body_max in (
        ("GET", r"/trust\?from=[0-9]{1,10}", 0),
        ("GET", r"/box", 0),
        ("GET", r"/manifests/[0-9a-f]{32}", 0),
        ("POST", r"/chunks", 1024 * 1024),
        # As large as the gateway lets it be: it is counted there.
        ("PUT", r"/artifacts/[0-9a-f]{32}", None),
    )
)
_WORKERS = 16
_IDLE_S = 60.0
# A spoke that does not read, or does not send what it has announced, holds a thread for no longer.
_PATIENCE_S = 60.0


class Passage:
    """For all bulk connections of a relay; `close` lets what is under way break off."""

    def __init__(self, door: HubDoor, loop: asyncio.AbstractEventLoop) -> None:
        self._door = door
        self._loop = loop
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="passage")

    async def serve(self, websocket: WebSocket) -> None:
        """Pass on one request after another until the spoke asks no more for a while.

        Raises:
            ConnectionLost, Refused.
        """
        while True:
            try:
                async with asyncio.timeout(_IDLE_S):
                    message = await websocket.receive()
            except TimeoutError:
                return
            ask = hop.read(message) if isinstance(message, str) else None
            if not isinstance(ask, hop.Ask):
                raise Refused(Code.ENV_SCHEMA, "expected a request")
            body_max = _allowed(ask)
            broken = await self._loop.run_in_executor(self._pool, self._pass_on, websocket, ask, body_max)
            if broken:
                # Half a body may be on its way still; the next request comes on a connection of its own.
                await websocket.send(hop.write(hop.Broken(broken[:300])))
                return

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _pass_on(self, websocket: WebSocket, ask: hop.Ask, body_max: int | None) -> str:
        """Why it broke off, or ""."""
        body = self._pieces(websocket, body_max) if ask.has_body else None
        try:
            with self._door.passed_on(ask.method, ask.path, capability=ask.capability, body=body) as answer:
                self._wait(websocket.send(hop.write(hop.Answer(answer.status))))
                size = 0
                while piece := answer.read(PIECE):
                    size += len(piece)
                    self._wait(websocket.send(piece))
                self._wait(websocket.send(hop.write(hop.End(size))))
        except (GatewayUnreachable, Refused, ConnectionLost, NotInTime) as error:
            return str(error) or "it took too long"
        return ""

    def _pieces(self, websocket: WebSocket, body_max: int | None) -> Iterator[bytes]:
        size = 0
        while True:
            message = self._wait(websocket.receive())
            if isinstance(message, str):
                end = hop.read(message)
                if not isinstance(end, hop.End) or end.size != size:
                    raise ConnectionLost("the body broke off")
                return
            size += len(message)
            if body_max is not None and size > body_max:
                raise Refused(Code.ENV_TOOBIG, f"a body of more than {body_max} bytes")
            yield message

    def _wait(self, work: Coroutine[Any, Any, Done]) -> Done:
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError as error:
            work.close()
            raise ConnectionLost("the relay leaves") from error
        try:
            return future.result(_PATIENCE_S)
        except NotInTime:
            future.cancel()
            raise


def _allowed(ask: hop.Ask) -> int | None:
    for method, path, body_max in _ALLOWED:
        if ask.method == method and path.fullmatch(ask.path) and (ask.has_body or method == "GET"):
            return body_max
    raise Refused(Code.ENV_POLICY, "a relay passes on nothing of this kind")

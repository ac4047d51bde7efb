"""Hears trust documents from whoever has come: public and signed, so that it does not matter who that is."""

import asyncio

from wire import hop
from wire.errors import ConnectionLost
from wire.websocket import WebSocket

# One chain of some years; nobody has shown who he is.
_CHAIN_MAX = 4 * 1024 * 1024
# A message counts for no less, so that their number is bounded too.
_LEAST = 256
_TELL_WITHIN_S = 30.0


async def told_trust(websocket: WebSocket, *, held: int) -> list[bytes]:
    """The documents that the other side has beyond version `held` (0: we have none), nothing verified yet.

    Raises:
        ConnectionLost: It broke off, or more came than a chain can have.
        TimeoutError, Refused.
    """
    await websocket.send(hop.write(hop.Greeting("", "trust", held)))
    frames: list[bytes] = []
    size = 0
    async with asyncio.timeout(_TELL_WITHIN_S):
        while isinstance(message := await websocket.receive(), bytes):
            frames.append(message)
            size += max(len(message), _LEAST)
            if size > _CHAIN_MAX:
                raise ConnectionLost("more trust documents than a chain has")
    hop.read(message)
    return frames

"""How many bytes of all spokes may be between a spoke and the broker's confirm: who wants more waits, unread."""

import asyncio
from collections import deque

MOST_BYTES = 32 * 1024 * 1024
# A message counts for no less: so that their number is bounded too, below what the broker's connection lets wait.
LEAST = 4 * 1024


class Room:
    """Of one loop; first come, first served. What is larger than all of it goes alone."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = most
        self._used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int) -> None:
        size = max(size, LEAST)
        if not self._waiting and self._fits(size):
            self._used += size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(size)
            raise

    def give_back(self, size: int) -> None:
        self._used -= max(size, LEAST)
        while self._waiting and (self._waiting[0][1].done() or self._fits(self._waiting[0][0])):
            wanted, turn = self._waiting.popleft()
            if not turn.done():
                self._used += wanted
                turn.set_result(None)

    def _fits(self, size: int) -> bool:
        return self._used == 0 or self._used + size <= self._most

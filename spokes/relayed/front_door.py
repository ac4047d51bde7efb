"""The door at which relays knock: a listener on a loop and thread of its own, TLS as the trust document says.

Whoever is not pinned there gets no word out of us; a stranger with a certificate is named in the log once an hour.
"""

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any

from config.settings import parse_address
from spokes.agent.errors import CannotListen
from wire import hop
from wire.errors import Code, Refused
from wire.tls import TlsContext, TlsPeer, check_peer, server_context
from wire.websocket import Listener, WebSocket, listening_socket, prepare_loop

logger = logging.getLogger(__name__)

_SAID_AGAIN_S = 3600.0
_REMEMBERED_STRANGERS = 1000
_STOP_WITHIN_S = 5.0

Attend = Callable[[WebSocket], Awaitable[None]]


class FrontDoor:
    """Opened once; `trust` may be called at any time, from any thread but its own.

    Args:
        address: host:port on which it listens.
        certificate: PEM, as `key`; it says whose TLS key this is.
        pins: Of relays. None asks nobody who he is, for one who does not know yet whom to believe.
        most: Connections at a time.
    """

    def __init__(
        self,
        address: str,
        certificate: bytes,
        key: bytes,
        *,
        pins: Collection[str] | None = (),
        most: int = 64,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.address = address
        self.loop = asyncio.new_event_loop()
        self.refused: Counter[str] = Counter()
        self._certificate = certificate
        self._key = key
        self._pins = pins
        self._most = most
        self._clock = clock
        self._named_at: dict[str, float] = {}
        self._attend: dict[str, Attend] = {}
        self._listener: Listener | None = None
        self._thread = threading.Thread(target=self._run, name="front door", daemon=True)

    def open(self, *, mail: Attend, bulk: Attend | None = None, trust: Attend | None = None) -> None:
        """Listen. Who shows no certificate gets to `trust`, if that is given, and nowhere else.

        Raises:
            CannotListen: The address is taken, or is not this machine's.
        """
        try:
            host, port = parse_address(self.address)
            plain = listening_socket((host, port))
        except (OSError, ValueError) as error:
            raise CannotListen(f"cannot listen on {self.address}: {error}") from error
        self.address = f"{host}:{plain.getsockname()[1]}"
        offered = {hop.MAIL_PATH: mail, hop.BULK_PATH: bulk, hop.TRUST_PATH: trust}
        self._attend = {path: attend for path, attend in offered.items() if attend is not None}
        prepare_loop(self.loop)
        self._thread.start()

        async def start() -> None:
            self._listener = Listener(
                self._context(),
                self._serve,
                paths=frozenset(self._attend),
                open_paths=frozenset({hop.TRUST_PATH} & self._attend.keys()),
                most=self._most,
                refused=self._refuse,
            )
            self._listener.start(plain)

        self.run(start())
        logger.info("listening", extra={"address": self.address})

    def trust(self, pins: Collection[str]) -> None:
        """From now on these relays and no others; connections of others are closed."""
        self._pins = tuple(pins)

        async def retrust() -> None:
            if self._listener is not None:
                self._listener.retrust(self._context(), lambda peer: _is_pinned(peer, pins))

        if self._thread.is_alive():
            self.run(retrust())

    def close(self) -> None:
        async def close() -> None:
            if self._listener is not None:
                await self._listener.close()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

        if self._thread.is_alive():
            self.run(close())
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(_STOP_WITHIN_S)
            self.loop.close()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Have it done on the loop, and wait."""
        asyncio.run_coroutine_threadsafe(work, self.loop).result(_STOP_WITHIN_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def _context(self) -> TlsContext:
        open_to_all = hop.TRUST_PATH in self._attend
        return server_context(self._certificate, self._key, self._pins, client_optional=open_to_all)

    async def _serve(self, websocket: WebSocket) -> None:
        await self._attend[websocket.path](websocket)

    def _refuse(self, word: str, sentence: str) -> None:
        """One counter for all junk; who showed a certificate of our make is named, but not each time."""
        self.refused[word] += 1
        if word != Code.TLS_PIN:
            logger.debug("connection refused", extra={"reason": word, "why": sentence})
            return
        who = sentence.rpartition("found ")[2]
        now = self._clock()
        if now - self._named_at.get(who, -_SAID_AGAIN_S) < _SAID_AGAIN_S:
            return
        if len(self._named_at) >= _REMEMBERED_STRANGERS:
            self._named_at.clear()
        self._named_at[who] = now
        logger.warning("a stranger knocked and was refused", extra={"code": word, "why": sentence})


def _is_pinned(peer: TlsPeer, pins: Collection[str]) -> bool:
    try:
        check_peer(peer, [pin.lower() for pin in pins])
    except Refused:
        return False
    return True

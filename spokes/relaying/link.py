"""One listening spoke: dial it while its mailbox is ours, carry envelopes byte for byte both ways, pass confirms on.

    broker -> spoke: kept unanswered at the broker until the spoke says that it is in its journal
    spoke -> broker: the spoke hears "taken" when the broker has it safe

Nothing is opened here, and nothing could be. A spoke that is not reached costs a hint and a pause, no other spoke.
"""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from spokes.agent.errors import SpokeError
from spokes.relaying.hints import Hints
from spokes.relaying.passage import Passage
from spokes.relaying.room import Room
from wire import hop
from wire.address import split_address
from wire.amqp.consumer import Watch
from wire.connection import Delivery, Outgoing, Subscription
from wire.crash import crash_point
from wire.documents import FleetSpoke
from wire.errors import Code, ConnectionLost, Refused, WireError
from wire.tls import TlsContext, TlsPeer, check_bound_peer, unverified_client_context
from wire.topology import EVENTS, EventKind, fleet_queue, relay_key
from wire.websocket import CannotDial, Failure, WebSocket, closing, dial

logger = logging.getLogger(__name__)

_PREFETCH = 2
_GREETING_WITHIN_S = 10.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 20.0
# A connection that lived so long was a good one: the next attempt follows soon.
_STEADY_S = 30.0
_LINES_MOST = 2
# Words that wait for a spoke that sends and does not read: more than an honest one ever leaves.
_WORDS_MOST = 1024


class Carrier(Protocol):
    """The relay's connection to the broker."""

    def publish(self, message: Outgoing) -> "Future[None]": ...

    def consume(
        self, queue: str, *, prefetch: int, exclusive: bool = False, watch: Watch | None = None
    ) -> Subscription: ...


@dataclass(slots=True)
class Surroundings:
    """What all links of a relay share; `newer_trust` gives the documents beyond a version, and may take its time."""

    relay_id: str
    fleet: str
    carrier: Carrier
    tls: TlsContext
    passage: Passage
    hints: Hints
    room: Room
    newer_trust: Callable[[int], Sequence[bytes]]
    proxy: tuple[str, int] | None = None


class SpokeLink:
    """Runs as one task until it is cancelled; `is_up` while the spoke is connected."""

    def __init__(self, spoke: FleetSpoke, around: Surroundings) -> None:
        self.spoke = spoke
        self.is_up = False
        self.is_ours = False
        self.why_down = ""
        self._around = around
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._wake = asyncio.Event()
        self._failures = 0
        self._lines: set[asyncio.Task[None]] = set()
        self._websocket: WebSocket | None = None
        # Brought to the spoke and not answered, by number on this connection; `_again` is what the last one left.
        self._open: dict[int, Delivery] = {}
        self._again: deque[Delivery] = deque()
        self._brought = 0
        self._words: deque[hop.Word] = deque()
        self._subscription: Subscription | None = None

    async def run(self) -> None:
        watch = Watch(
            arrived=lambda: self._soon(self._wake.set),
            consuming=lambda ours: self._soon(lambda: self._own(ours=ours)),
        )
        queue = fleet_queue(self._around.fleet, self.spoke.id)
        self._subscription = self._around.carrier.consume(queue, prefetch=_PREFETCH, exclusive=True, watch=watch)
        try:
            while True:
                await self._until_ours()
                await self._try()
        finally:
            self._drop_lines()
            self._subscription.close()

    def _soon(self, act: Callable[[], None]) -> None:
        """From the broker's thread; a loop that has ended wants to know of nothing."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(act)

    def _own(self, *, ours: bool) -> None:
        self.is_ours = ours
        self._changed.set()
        if not ours:
            # The broker brings them again, here or elsewhere.
            self._open.clear()
            self._again.clear()
            if self._websocket is not None:
                self._websocket.abort()

    async def _until_ours(self) -> None:
        while not self.is_ours:
            self._changed.clear()
            await self._changed.wait()

    async def _try(self) -> None:
        began = time.monotonic()
        try:
            await self._meet()
        except (CannotDial, Refused, TimeoutError) as error:
            self._down(error)
            if isinstance(error, CannotDial) and error.failure is Failure.REFUSED:
                await self._offer_trust()
        except ConnectionLost as error:
            logger.info("spoke gone", extra={"spoke": self.spoke.id, "why": str(error)})
        except Exception:
            logger.exception("link failed and goes on", extra={"spoke": self.spoke.id})
        finally:
            self.is_up = False
            self._websocket = None
            self._again = deque([*self._open.values(), *self._again])
            self._open.clear()
        self._failures = 0 if time.monotonic() - began > _STEADY_S else self._failures + 1
        longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(self._failures, 10))
        await asyncio.sleep(random.uniform(0, longest))  # noqa: S311  Jitter.

    async def _meet(self) -> None:
        async with closing(await self._dial(hop.MAIL_PATH)) as websocket:
            async with asyncio.timeout(_GREETING_WITHIN_S):
                message = await websocket.receive()
            greeting = hop.read(message) if isinstance(message, str) else None
            if not isinstance(greeting, hop.Greeting) or greeting.spoke not in {"", self.spoke.id}:
                raise CannotDial(Failure.NOT_TLS, "who answers there is another spoke")
            if greeting.wants == "trust":
                await self._tell_trust(websocket, greeting.trust)
            else:
                await self._carry(websocket)

    async def _dial(self, path: str, tls: TlsContext | None = None) -> WebSocket:
        around = self._around
        return await dial(
            split_address(self.spoke.address), path, tls=tls or around.tls, check=self._check, proxy=around.proxy
        )

    def _check(self, peer: TlsPeer) -> None:
        check_bound_peer(peer, self.spoke.thumbprint, self.spoke.spki)

    async def _offer_trust(self) -> None:
        """The spoke may not know this relay yet, and have nobody else to tell it of the document that names us."""
        try:
            async with closing(await self._dial(hop.TRUST_PATH, unverified_client_context())) as websocket:
                async with asyncio.timeout(_GREETING_WITHIN_S):
                    message = await websocket.receive()
                greeting = hop.read(message) if isinstance(message, str) else None
                if isinstance(greeting, hop.Greeting) and greeting.wants == "trust":
                    await self._tell_trust(websocket, greeting.trust)
                    await websocket.ended()
        except (WireError, TimeoutError) as error:
            logger.debug("trust not offered", extra={"spoke": self.spoke.id, "why": str(error)})

    async def _tell_trust(self, websocket: WebSocket, held: int) -> None:
        """It verifies them from what it holds, or from the root that its owner has named."""
        frames = await self._loop.run_in_executor(None, self._newer_trust, held)
        for frame in frames:
            await websocket.send(frame)
        await websocket.send(hop.write(hop.End(sum(map(len, frames)))))
        logger.info("trust told", extra={"spoke": self.spoke.id, "documents": len(frames)})

    def _newer_trust(self, held: int) -> Sequence[bytes]:
        try:
            return self._around.newer_trust(held)
        except SpokeError as error:
            raise ConnectionLost(f"no trust documents to tell: {error}") from error

    async def _carry(self, websocket: WebSocket) -> None:
        self._websocket, self.is_up, self.why_down = websocket, True, ""
        self._brought = 0
        self._words.clear()
        self._around.hints.up(self.spoke.id)
        logger.info("spoke connected", extra={"spoke": self.spoke.id})
        self._wake.set()
        bringing = self._loop.create_task(self._bring(websocket))
        try:
            await self._fetch(websocket)
        finally:
            bringing.cancel()

    async def _bring(self, websocket: WebSocket) -> None:
        """Towards the spoke: words first, then what the last connection left unanswered, then the mailbox."""
        try:
            while True:
                while self._words:
                    await websocket.send(hop.write(self._words.popleft()))
                delivery = self._next()
                if delivery is None:
                    self._wake.clear()
                    if not self._words:
                        await self._wake.wait()
                    continue
                self._brought += 1
                self._open[self._brought] = delivery
                await websocket.send(delivery.body)
                crash_point("relay.brought")
        except ConnectionLost:
            # Whoever fetches finds out too, and cleans up.
            websocket.abort()

    def _next(self) -> Delivery | None:
        if self._again:
            return self._again.popleft()
        assert self._subscription is not None
        return next(iter(self._subscription.take(1, 0)), None)

    async def _fetch(self, websocket: WebSocket) -> None:
        """From the spoke: envelopes to the broker, words to whom they concern; ends with the connection."""
        number = 0
        while True:
            message = await websocket.receive()
            if isinstance(message, str):
                self._hear(hop.read(message))
                continue
            number += 1
            await self._around.room.take(len(message))
            self._publish(websocket, number, message)

    def _publish(self, websocket: WebSocket, number: int, frame: bytes) -> None:
        size = len(frame)

        def done(sent: "Future[None]") -> None:
            self._soon(lambda: self._confirmed(websocket, number, size, sent))

        try:
            kind = hop.upward_kind(frame)
        except Refused as refusal:
            self._around.room.give_back(size)
            self._say(hop.Returned(number, str(refusal.code)))
            return
        kept = kind is not EventKind.BEAT
        key = relay_key(self._around.relay_id, kind, self.spoke.id)
        message = Outgoing(EVENTS, key, frame, persistent=kept, mandatory=kept)
        self._around.carrier.publish(message).add_done_callback(done)

    def _confirmed(self, websocket: WebSocket, number: int, size: int, sent: "Future[None]") -> None:
        self._around.room.give_back(size)
        if websocket is not self._websocket:
            return
        crash_point("relay.published")
        error = sent.exception()
        self._say(hop.Taken((number,)) if error is None else hop.Returned(number, str(error)[:300]))

    def _say(self, word: hop.Word) -> None:
        """Confirms that wait together travel together."""
        last = self._words[-1] if self._words else None
        if isinstance(word, hop.Taken) and isinstance(last, hop.Taken) and len(last.numbers) < hop.TAKEN_MAX:
            self._words[-1] = hop.Taken(last.numbers + word.numbers)
        else:
            self._words.append(word)
        if len(self._words) > _WORDS_MOST and self._websocket is not None:
            logger.warning("spoke does not read and is cut off", extra={"spoke": self.spoke.id})
            self._websocket.abort()
        self._wake.set()

    def _hear(self, word: hop.Word) -> None:
        assert self._subscription is not None
        if isinstance(word, hop.Taken):
            taken = [self._open.pop(number) for number in word.numbers if number in self._open]
            self._subscription.ack(taken)
        elif isinstance(word, hop.Returned):
            delivery = self._open.pop(word.number, None)
            if delivery is not None:
                self._subscription.reject(delivery, requeue=True)
        elif isinstance(word, hop.WantsBulk):
            self._open_line()
        else:
            raise Refused(Code.ENV_SCHEMA, "a word that a spoke does not say here")

    def _open_line(self) -> None:
        if len(self._lines) < _LINES_MOST:
            line = self._loop.create_task(self._line())
            self._lines.add(line)
            line.add_done_callback(self._lines.discard)

    async def _line(self) -> None:
        try:
            async with closing(await self._dial(hop.BULK_PATH)) as websocket:
                await self._around.passage.serve(websocket)
        except (WireError, TimeoutError) as error:
            logger.info("bulk connection ended", extra={"spoke": self.spoke.id, "why": str(error)})

    def _drop_lines(self) -> None:
        for line in self._lines:
            line.cancel()

    def _down(self, error: Exception) -> None:
        self.why_down = str(error)
        reason = _reason(error)
        self._around.hints.down(self.spoke.id, reason, self.why_down)
        logger.info("spoke not reached", extra={"spoke": self.spoke.id, "reason": reason, "why": self.why_down})


def _reason(error: Exception) -> str:
    if isinstance(error, CannotDial):
        return str(error.failure)
    if isinstance(error, Refused) and error.code in {Code.TLS_PIN, Code.TLS_NOCERT, Code.KEY_WEAK}:
        return str(Failure.PIN)
    return str(Failure.TIMEOUT if isinstance(error, TimeoutError) else Failure.NOT_TLS)

"""The mail of a listening spoke: the contract of wire/connection.py over whichever relay has dialled in.

    frame from the relay -> buffer -> the service journals it -> "taken" to the relay -> the broker forgets it
    frame of ours -> the newest relay -> its broker has it safe -> "taken" -> the future is done

What was sent and not answered goes to the next relay, before anything newer: the hub knows a frame that it has seen,
and a log that stays in order has no gaps to show. What no relay took in time fails, and its owner sends it again.
"""

import asyncio
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field

from wire import hop
from wire.connection import Delivery, Outgoing, Subscription
from wire.errors import ConnectionLost, Nacked, Refused, WireError
from wire.topology import MAX_MESSAGE_BYTES
from wire.websocket import WebSocket

logger = logging.getLogger(__name__)

# Sent and not confirmed on one connection; the relay reads no more of us either.
WINDOW = 32
_WAITING_MOST, _WAITING_BYTES = 10_000, 64 * 1024 * 1024
# More than any honest relay leaves unanswered.
_BUFFERED_MOST = 64
# Words that wait for a relay that brings and does not read.
_WORDS_MOST = 1024
_LOOK_EVERY_S = 1.0
WAITING, CONNECTED = "waiting for a relay", "connected"


@dataclass(slots=True)
class _Entry:
    body: bytes
    deadline: float
    done: "Future[None]" = field(default_factory=Future)


class _Link:
    """One relay's connection; of the loop alone, but for `say`."""

    def __init__(self, generation: int, websocket: WebSocket, loop: asyncio.AbstractEventLoop) -> None:
        self.generation = generation
        self.websocket = websocket
        self.wake = asyncio.Event()
        self.received = 0
        self.sent = 0
        self.unconfirmed: dict[int, _Entry] = {}
        self.words: deque[hop.Word] = deque()
        self._loop = loop

    def say(self, words: Sequence[hop.Word]) -> None:
        """From any thread."""
        self.words.extend(words)
        self._loop.call_soon_threadsafe(self.wake.set)


class RelayedConnection:
    """Sent to by any thread; relays are attended on the loop. The names of queues and keys are the relay's business.

    Args:
        spoke_id: As relays are greeted; "" for one that is not enrolled.
        publish_timeout_s: How long a message waits for a relay.
    """

    def __init__(self, spoke_id: str, loop: asyncio.AbstractEventLoop, *, publish_timeout_s: float = 30.0) -> None:
        self.spoke_id = spoke_id
        self._loop = loop
        self._timeout_s = publish_timeout_s
        self._generations = itertools.count(1)
        self._lock = threading.Condition()
        self._waiting: deque[_Entry] = deque()
        self._waiting_bytes = 0
        self._links: list[_Link] = []
        self._closed = False
        self._subscription = RelayedSubscription(self)
        self._tick: asyncio.Task[None] | None = None

    # The contract, from any thread

    def publish(self, message: Outgoing) -> "Future[None]":
        return self.publish_many((message,))[0]

    def publish_many(self, messages: Sequence[Outgoing]) -> "list[Future[None]]":
        deadline = time.monotonic() + self._timeout_s
        entries = [_Entry(message.body, deadline) for message in messages]
        with self._lock:
            for entry in entries:
                self._enqueue(entry)
        self._wake()
        return [entry.done for entry in entries]

    def consume(self, queue: str, *, prefetch: int, exclusive: bool = False) -> Subscription:  # noqa: ARG002  The relay has these.
        return self._subscription

    def close(self) -> None:
        with self._lock:
            self._closed = True
            entries, self._waiting = list(self._waiting), deque()
            self._waiting_bytes = 0
            self._lock.notify_all()
        self._subscription.close()
        _fail(entries, ConnectionLost("the connection is closed"))

    @property
    def state(self) -> str:
        return CONNECTED if self._links else WAITING

    def ask_for_bulk(self) -> bool:
        """Tell the relay that we want one more connection; False where none is there."""
        with self._lock:
            if not self._links:
                return False
            self._links[-1].say([hop.WantsBulk()])
            return True

    def answer(self, generation: int, words: Sequence[hop.Word]) -> None:
        """Tell the relay that brought them; one that is gone has its broker bring them again."""
        with self._lock:
            link = next((link for link in self._links if link.generation == generation), None)
        if link is not None:
            link.say(words)

    def _enqueue(self, entry: _Entry) -> None:
        if len(entry.body) > MAX_MESSAGE_BYTES:
            entry.done.set_exception(Nacked(f"a message of {len(entry.body)} bytes is over {MAX_MESSAGE_BYTES}"))
            return
        self._lock.wait_for(lambda: self._closed or self._has_room(entry), entry.deadline - time.monotonic())
        if self._closed:
            entry.done.set_exception(ConnectionLost("the connection is closed"))
        elif not self._has_room(entry):
            entry.done.set_exception(Nacked(f"the queue to the relay stayed full for {self._timeout_s:g} s"))
        else:
            self._waiting.append(entry)
            self._waiting_bytes += len(entry.body)

    def _has_room(self, entry: _Entry) -> bool:
        return len(self._waiting) < _WAITING_MOST and self._waiting_bytes + len(entry.body) <= _WAITING_BYTES

    def _wake(self) -> None:
        with self._lock:
            link = self._links[-1] if self._links else None
        if link is not None:
            link.say(())

    # The loop

    async def attend(self, websocket: WebSocket) -> None:
        """Serve one relay until its connection ends. The newest one gets what goes up."""
        if self._tick is None:
            self._tick = asyncio.get_running_loop().create_task(self._drop_the_late())
        await websocket.send(hop.write(hop.Greeting(self.spoke_id, "mail", 0)))
        link = _Link(next(self._generations), websocket, self._loop)
        with self._lock:
            # The former one may be gone without a word; should it live, what it has comes twice.
            for former in self._links:
                self._take_back(former)
            self._links.append(link)
        logger.info("relay connected", extra={"peer": websocket.peer})
        link.wake.set()
        sending = asyncio.get_running_loop().create_task(self._send_all(link))
        try:
            while True:
                message = await websocket.receive()
                if isinstance(message, bytes):
                    self._arrived(link, message)
                else:
                    self._told(link, hop.read(message))
        except Refused as refusal:
            logger.warning("relay not understood", extra={"peer": websocket.peer, "why": str(refusal)})
        finally:
            sending.cancel()
            self._gone(link)
            logger.info("relay gone", extra={"peer": websocket.peer})

    def _arrived(self, link: _Link, frame: bytes) -> None:
        """Raises ConnectionLost for a relay that brings more than it may, or does not hear what became of it."""
        if len(link.words) > _WORDS_MOST:
            raise ConnectionLost("the relay brings and does not read")
        link.received += 1
        self._subscription.put(
            Delivery(
                body=frame,
                exchange="",
                key="",
                message_id="",
                user_id="",
                redelivered=False,
                suspicious=False,
                tag=link.received,
                generation=link.generation,
            )
        )

    def _told(self, link: _Link, word: hop.Word) -> None:
        if isinstance(word, hop.Taken):
            for number in word.numbers:
                entry = link.unconfirmed.pop(number, None)
                if entry is not None:
                    _settle(entry, None)
        elif isinstance(word, hop.Returned):
            entry = link.unconfirmed.pop(word.number, None)
            if entry is not None:
                _settle(entry, Nacked(f"the relay's broker did not take it: {word.why}"))
        link.wake.set()

    async def _send_all(self, link: _Link) -> None:
        """Words first: they free what the relay holds."""
        try:
            while True:
                await link.wake.wait()
                link.wake.clear()
                while link.words:
                    await link.websocket.send(hop.write(link.words.popleft()))
                while not link.words and (entry := self._next_for(link)) is not None:
                    link.sent += 1
                    link.unconfirmed[link.sent] = entry
                    await link.websocket.send(entry.body)
                if link.words:
                    link.wake.set()
        except ConnectionLost:
            # Whoever receives on it finds out too, and cleans up.
            link.websocket.abort()

    def _next_for(self, link: _Link) -> _Entry | None:
        with self._lock:
            if not self._waiting or link is not self._links[-1] or len(link.unconfirmed) >= WINDOW:
                return None
            entry = self._waiting.popleft()
            self._waiting_bytes -= len(entry.body)
            self._lock.notify_all()
            return entry

    def _gone(self, link: _Link) -> None:
        with self._lock:
            self._links.remove(link)
            self._take_back(link)
            heir = self._links[-1] if self._links else None
        self._subscription.lost(link.generation)
        if heir is not None:
            heir.wake.set()

    def _take_back(self, link: _Link) -> None:
        """What it has not confirmed waits again, in its order, before what came later; inside the lock."""
        entries = [link.unconfirmed[number] for number in sorted(link.unconfirmed)]
        link.unconfirmed.clear()
        if self._closed:
            _fail(entries, ConnectionLost("the connection is closed"))
            return
        self._waiting.extendleft(reversed(entries))
        self._waiting_bytes += sum(len(entry.body) for entry in entries)

    async def _drop_the_late(self) -> None:
        while not self._closed:
            await asyncio.sleep(_LOOK_EVERY_S)
            now, late = time.monotonic(), []
            with self._lock:
                while self._waiting and self._waiting[0].deadline <= now:
                    entry = self._waiting.popleft()
                    self._waiting_bytes -= len(entry.body)
                    late.append(entry)
                self._lock.notify_all()
            _fail(late, ConnectionLost(f"no relay took it within {self._timeout_s:g} s"))


class RelayedSubscription:
    """What relays have brought and nobody has taken yet."""

    def __init__(self, connection: RelayedConnection) -> None:
        self._connection = connection
        self._arrived = threading.Condition()
        self._buffer: deque[Delivery] = deque()
        self._closed = False

    def take(self, limit: int, wait_s: float) -> list[Delivery]:
        with self._arrived:
            self._arrived.wait_for(lambda: self._buffer or self._closed, wait_s)
            return [self._buffer.popleft() for _ in range(min(limit, len(self._buffer)))]

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        by_generation: dict[int, list[int]] = {}
        for delivery in deliveries:
            by_generation.setdefault(delivery.generation, []).append(delivery.tag)
        for generation, numbers in by_generation.items():
            self._connection.answer(generation, hop.taken(numbers))

    def reject(self, delivery: Delivery, *, requeue: bool = False) -> None:
        why = "it comes again" if requeue else "it is of no use"
        self._connection.answer(delivery.generation, [hop.Returned(delivery.tag, why)])

    def close(self) -> None:
        with self._arrived:
            self._closed = True
            self._buffer.clear()
            self._arrived.notify_all()

    def put(self, delivery: Delivery) -> None:
        """Raises ConnectionLost for a relay that brings more than it may leave unanswered."""
        with self._arrived:
            if self._closed:
                return
            if len(self._buffer) >= _BUFFERED_MOST:
                raise ConnectionLost("the relay brings more than it may")
            self._buffer.append(delivery)
            self._arrived.notify()

    def lost(self, generation: int) -> None:
        """They come again: taken twice they would be answered from the journal, but to nobody."""
        with self._arrived:
            self._buffer = deque(kept for kept in self._buffer if kept.generation != generation)


def _settle(entry: _Entry, error: WireError | None) -> None:
    try:
        if error is None:
            entry.done.set_result(None)
        else:
            entry.done.set_exception(error)
    except InvalidStateError:
        logger.debug("a caller had given up")


def _fail(entries: Iterable[_Entry], error: WireError) -> None:
    for entry in list(entries):
        _settle(entry, error)

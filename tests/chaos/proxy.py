"""A TCP door before a port of this machine that does to a connection what networks do, on purpose and at once.

    with proxied(port) as proxy: …connect to proxy.port…; proxy.meet(Trouble(way=Way.UP, held=True)); …; proxy.heal()

What is held goes on when it is healed, as packets do that are sent again; what has vanished never does.
"""

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

_READ_BYTES = 64 * 1024
_LOOK_S = 0.02


class Way(StrEnum):
    """From whoever connected, to him, or both."""

    UP = "up"
    DOWN = "down"
    BOTH = "both"

    def holds(self, other: "Way") -> bool:
        return self in {Way.BOTH, other}


@dataclass(frozen=True, slots=True)
class Trouble:
    """What the bytes of one way, or of both, meet. Counts begin with the trouble, for each connection and way.

    `held`: nothing is taken from the sender and nothing arrives (both ways: a blackhole; one way: a one-way cut).
    `reset_after`: so many bytes pass, then both sides see a reset. `flip_at`: of the byte with that number one bit is
    turned, once. `refuses`: new connections are reset; there are no others.
    """

    way: Way = Way.BOTH
    held: bool = False
    latency_s: float = 0.0
    bytes_per_s: int = 0
    reset_after: int | None = None
    flip_at: int | None = None
    refuses: bool = False


class FaultProxy:
    """The door; `target` is the port behind it. All methods may be called from any thread."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.accepted = 0
        self.accepted_at: list[float] = []
        self._trouble: Trouble | None = None
        self._whom: Callable[[int], bool] = _everyone
        self._since = 0
        self._lock = threading.Lock()
        self._open: dict[int, _Connection] = {}
        self._loop = asyncio.new_event_loop()

    def meet(self, trouble: Trouble, whom: Callable[[int], bool] | None = None) -> None:
        """From now on, for connections whose number `whom` says yes to, those to come included; ends what was before."""
        with self._lock:
            self._trouble, self._whom, self._since = trouble, whom or _everyone, self._since + 1
        if trouble.refuses:
            self.cut()

    def heal(self) -> None:
        with self._lock:
            self._trouble, self._since = None, self._since + 1

    def cut(self) -> None:
        """Every connection that is open is reset, on both sides."""
        self._soon(lambda: [one.reset() for one in list(self._open.values())])

    def vanish(self) -> None:
        """The other side of every open connection is gone without a word, for ever: nothing is read, nothing comes."""
        self._soon(lambda: [one.vanish() for one in list(self._open.values())])

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._open)

    def trouble_of(self, number: int) -> tuple[Trouble | None, int]:
        """What this connection meets now, and since which change."""
        with self._lock:
            trouble = self._trouble if self._trouble is not None and self._whom(number) else None
            return trouble, self._since

    async def serve(self, opened: threading.Event) -> None:
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0, backlog=512, limit=_READ_BYTES)
        self.port = server.sockets[0].getsockname()[1]
        opened.set()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self.accepted_at.append(time.monotonic())
        number = self.accepted
        trouble, _ = self.trouble_of(number)
        if trouble is not None and trouble.refuses:
            _reset(writer)
            return
        # From an address of its own, so that limits for one address do not meet them all.
        source = (f"127.{1 + number // 60_000}.{1 + number // 250 % 240}.{1 + number % 250}", 0)
        try:
            there = await asyncio.open_connection("127.0.0.1", self.target, local_addr=source, limit=_READ_BYTES)
        except OSError:
            # Nobody is behind the door: as if there were no door.
            _reset(writer)
            return
        connection = _Connection(self, number, (reader, writer), there)
        self._open[number] = connection
        try:
            await connection.run()
        finally:
            del self._open[number]

    def _soon(self, work: Callable[[], object]) -> None:
        done = threading.Event()

        def run() -> None:
            try:
                work()
            finally:
                done.set()

        self._loop.call_soon_threadsafe(run)
        done.wait(10)

    @contextmanager
    def running(self) -> "Iterator[FaultProxy]":
        opened = threading.Event()

        def run() -> None:
            asyncio.set_event_loop(self._loop)
            self._loop.create_task(self.serve(opened))
            self._loop.run_forever()

        thread = threading.Thread(target=run, name="fault-proxy", daemon=True)
        thread.start()
        assert opened.wait(10), "the proxy does not listen"
        try:
            yield self
        finally:
            self.cut()
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join(5)


@contextmanager
def proxied(target: int) -> Iterator[FaultProxy]:
    """A proxy before this port, in a thread of its own."""
    with FaultProxy(target).running() as proxy:
        yield proxy


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Connection:
    """Two pumps."""

    def __init__(self, proxy: FaultProxy, number: int, here: Ends, there: Ends) -> None:
        self._proxy = proxy
        self._number = number
        self._here, self._there = here, there
        self._gone = False
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        up = _Pump(self, Way.UP, self._here[0], self._there[1])
        down = _Pump(self, Way.DOWN, self._there[0], self._here[1])
        self._tasks = [asyncio.ensure_future(pump.run()) for pump in (up, down)]
        try:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:
            for _, writer in (self._here, self._there):
                with contextlib.suppress(OSError, RuntimeError):
                    writer.close()

    def trouble(self) -> tuple[Trouble | None, int]:
        trouble, since = self._proxy.trouble_of(self._number)
        return (Trouble(held=True), since) if self._gone else (trouble, since)

    def vanish(self) -> None:
        self._gone = True

    def reset(self) -> None:
        for _, writer in (self._here, self._there):
            _reset(writer)
        for task in self._tasks:
            task.cancel()


class _Pump:
    """One way of one connection."""

    def __init__(self, of: _Connection, way: Way, source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        self._of = of
        self._way = way
        self._source = source
        self._to = to
        self._since = -1
        self._passed = 0

    async def run(self) -> None:
        with contextlib.suppress(OSError):
            while data := await self._read():
                await self._send(data)
            if self._to.can_write_eof():
                self._to.write_eof()

    async def _read(self) -> bytes:
        """The next bytes; none at the end. While it is held, nothing is taken: the sender's buffers fill."""
        await self._until_free()
        return await self._source.read(_READ_BYTES)

    async def _until_free(self) -> Trouble | None:
        while True:
            trouble = self._trouble()
            if trouble is None or not trouble.held:
                return trouble
            await asyncio.sleep(_LOOK_S)

    def _trouble(self) -> Trouble | None:
        trouble, since = self._of.trouble()
        if since != self._since:
            self._since, self._passed = since, 0
        return trouble if trouble is not None and trouble.way.holds(self._way) else None

    async def _send(self, data: bytes) -> None:
        while data:
            trouble = await self._until_free()
            piece = data
            if trouble is not None:
                if trouble.latency_s:
                    await asyncio.sleep(trouble.latency_s)
                piece = await self._suffered(trouble, data)
            data = data[len(piece) :]
            self._to.write(piece)
            await self._to.drain()
            self._passed += len(piece)
            if trouble is not None and trouble.reset_after is not None and self._passed >= trouble.reset_after:
                self._of.reset()

    async def _suffered(self, trouble: Trouble, data: bytes) -> bytes:
        """As much of the data as passes now, as it arrives."""
        if trouble.bytes_per_s:
            data = data[: max(1, trouble.bytes_per_s // 10)]
            await asyncio.sleep(len(data) / trouble.bytes_per_s)
        if trouble.reset_after is not None:
            data = data[: max(1, trouble.reset_after - self._passed)]
        if trouble.flip_at is not None and self._passed <= trouble.flip_at < self._passed + len(data):
            at = trouble.flip_at - self._passed
            data = data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]
        return data


def _everyone(_: int) -> bool:
    return True


def _reset(writer: asyncio.StreamWriter) -> None:
    """RST instead of FIN."""
    place = writer.get_extra_info("socket")
    with contextlib.suppress(OSError, AttributeError):
        place.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()

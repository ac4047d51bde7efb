"""A TCP door that counts what goes through it: the bytes of a transfer as the network would see them."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_READ_BYTES = 256 * 1024


@dataclass
class Meter:
    """Bytes since the last `take`: `up` from whoever connected, `down` to him. `target` is set before anybody comes."""

    port: int = 0
    target: int = 0
    up: int = 0
    down: int = 0
    connections: int = 0

    def take(self) -> int:
        """Bytes both ways since the last call."""
        total, self.up, self.down = self.up + self.down, 0, 0
        return total


@contextmanager
def metered() -> Iterator[Meter]:
    """A door before a port of this machine, in a thread of its own.

    Each connection goes on from a loopback address of its own, so that limits for one address do not meet them all.
    """
    meter = Meter()
    loop = asyncio.new_event_loop()
    opened = threading.Event()

    async def serve() -> None:
        server = await asyncio.start_server(lambda r, w: _carry(meter, r, w), "127.0.0.1", 0, backlog=128)
        meter.port = server.sockets[0].getsockname()[1]
        opened.set()

    def run() -> None:
        loop.run_until_complete(serve())
        loop.run_forever()

    thread = threading.Thread(target=run, name="meter", daemon=True)
    thread.start()
    opened.wait(10)
    try:
        yield meter
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)


async def _carry(meter: Meter, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    meter.connections += 1
    source = (f"127.0.{1 + meter.connections // 250}.{1 + meter.connections % 250}", 0)
    try:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", meter.target, local_addr=source)
    except ConnectionError:
        # Nobody is behind the door any more: as if there were no door.
        writer.transport.abort()
        return

    async def pump(source: asyncio.StreamReader, to: asyncio.StreamWriter, *, is_up: bool) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(_READ_BYTES):
                if is_up:
                    meter.up += len(data)
                else:
                    meter.down += len(data)
                to.write(data)
                await to.drain()
        with contextlib.suppress(ConnectionError, RuntimeError):
            to.close()

    await asyncio.gather(pump(reader, there_writer, is_up=True), pump(there_reader, writer, is_up=False))

"""How much memory one relay needs for a thousand listening spokes: `python -m bench.relay_memory [SPOKES]`.

The relay is the real program, over a real broker; the spokes are real listeners with a key each, in this process, which
greet and beat every ten seconds. What is measured is what the kernel says that the relay holds, when all spokes are up.
"""

import asyncio
import os
import secrets
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.stage import BenchFailed, resident_mb
from tests.fakes.relay_world import RelayWorld, relay_world
from tests.services.rabbitmq import running_broker
from wire import hop, topology
from wire.keys import SigningKey, thumbprint
from wire.tls import make_certificate, server_context
from wire.topology import DEFAULT_FLEET
from wire.websocket import Listener, WebSocket, listening_socket, prepare_loop

TARGET_MB = 250
_BEAT_EVERY_S = 10.0
_BEAT = b"MAE1" + (20).to_bytes(2, "big") + bytes(600)
_UP_WITHIN_S = 300.0


@dataclass(frozen=True, slots=True)
class RelayMemory:
    """`up` spokes were reached after `up_s`; the relay holds so much, and held at most that; it passed on `taken`."""

    up: int
    up_s: float
    now_mb: float
    most_mb: float
    taken: int


class Crowd:
    """Listening spokes that do nothing but be there."""

    def __init__(self, world: RelayWorld, count: int) -> None:
        self._world = world
        self._count = count
        self.up = 0
        self.taken = 0
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def gather(self) -> None:
        prepare_loop(self._loop)
        pins = [relay.pin for relay in self._world.relays]
        for _ in range(self._count):
            spoke_id, key = secrets.token_hex(16), SigningKey.generate()
            self._world.broker.admin.ensure_tenant(topology.listening_tenant(spoke_id, DEFAULT_FLEET), "")
            pair = make_certificate(os.urandom(32), "spoke", bound_to=key)
            plain = listening_socket(("127.0.0.1", 0))
            address = f"127.0.0.1:{plain.getsockname()[1]}"
            listener = Listener(
                server_context(*pair, pins),
                partial(self._serve, spoke_id),
                paths=frozenset({hop.MAIL_PATH}),
            )
            self._loop.call_soon_threadsafe(listener.start, plain)
            self._world.introduce(spoke_id, address, thumbprint(key.verify_key.pk))

    async def _serve(self, spoke_id: str, websocket: WebSocket) -> None:
        await websocket.send(hop.write(hop.Greeting(spoke_id, "mail", 0)))
        self.up += 1
        beating = asyncio.get_running_loop().create_task(self._beat(websocket))
        try:
            while True:
                message = await websocket.receive()
                self.taken += isinstance(message, str)
        finally:
            self.up -= 1
            beating.cancel()

    async def _beat(self, websocket: WebSocket) -> None:
        while True:
            await websocket.send(_BEAT)
            await asyncio.sleep(_BEAT_EVERY_S)


def relay_memory(count: int) -> RelayMemory:
    """A relay with so many spokes, looked at when all have greeted and each has beaten twice.

    Raises:
        BenchFailed: Some of them were not reached.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        running_broker() as broker,
        relay_world(broker, Path(folder)) as world,
    ):
        crowd = Crowd(world, count)
        crowd.gather()
        began = time.monotonic()
        with world.relay_process(world.relays[0]) as relay:
            while crowd.up < count and time.monotonic() - began < _UP_WITHIN_S:
                time.sleep(0.2)
            up_s = time.monotonic() - began
            if crowd.up < count:
                said = (world.relays[0].root / "relay.log").read_text()[-2000:]
                raise BenchFailed(f"expected {count} spokes to be reached, found {crowd.up}: {said}")
            time.sleep(2 * _BEAT_EVERY_S)
            return RelayMemory(crowd.up, up_s, *resident_mb(relay.pid), crowd.taken)


def main() -> int:
    found = relay_memory(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
    print(
        f"{found.up} spokes up after {found.up_s:.1f} s; relay holds {found.now_mb:.0f} MB,"
        f" at most {found.most_mb:.0f} MB (target {TARGET_MB}); {found.taken} confirms passed on"
    )
    return 0 if found.most_mb <= TARGET_MB else 1


if __name__ == "__main__":
    sys.exit(main())

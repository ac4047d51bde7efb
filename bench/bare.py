"""The floor: the same exchange on bare pika. Durable queues, persistent messages, confirms, JSON, Ed25519 both ways.

    hub: sign, publish, confirm --> worker: verify, (fork the script), sign, publish, confirm, ack --> hub: verify, ack

The worker is a process of its own (`python -m bench.bare URL PUBLIC-KEY-OF-THE-HUB`), as a spoke would be.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pika
from nacl.signing import SigningKey, VerifyKey

REQUESTS, REPLIES = "bench.requests", "bench.replies"
_SIGNATURE = 64
_SPAWN = ("bash", "-c")


class BareHub:
    """Asks one thing at a time."""

    def __init__(self, url: str, worker: VerifyKey, signing: SigningKey) -> None:
        self._worker = worker
        self._signing = signing
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()
        self._replies = self._channel.consume(REPLIES, inactivity_timeout=30)
        self._count = 0

    def exchange(self, script: str = "") -> None:
        """One request and its recorded answer; "" runs nothing."""
        self._count += 1
        body = json.dumps({"id": self._count, "script": script, "padding": "x" * 800}).encode()
        _publish(self._channel, REQUESTS, body, self._signing)
        method, _, frame = next(self._replies)
        if method is None:
            raise TimeoutError("the bare worker did not answer in 30 s")
        answer = json.loads(_opened(frame, self._worker))
        if answer != {"id": self._count, "exit_code": 0}:
            raise ValueError(f"expected an answer to {self._count}, found {answer}")
        self._channel.basic_ack(method.delivery_tag)

    def close(self) -> None:
        self._channel.cancel()
        self._connection.close()


@contextmanager
def bare_exchange(url: str) -> Iterator[BareHub]:
    """A worker process and the hub's end, on the broker of that URL."""
    hub_key, worker_key = SigningKey.generate(), SigningKey.generate()
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    for queue in (REQUESTS, REPLIES):
        channel.queue_declare(queue, durable=True)
        channel.queue_purge(queue)
    connection.close()
    command = [sys.executable, "-m", "bench.bare", url, hub_key.verify_key.encode().hex(), worker_key.encode().hex()]
    worker = subprocess.Popen(command)
    try:
        hub = BareHub(url, worker_key.verify_key, hub_key)
        hub.exchange()
        yield hub
        hub.close()
    finally:
        worker.terminate()
        worker.wait(10)


def serve(url: str, hub: VerifyKey, signing: SigningKey) -> None:
    """Answer requests until the process is ended."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.confirm_delivery()
    for method, _, frame in channel.consume(REQUESTS):
        request = json.loads(_opened(frame, hub))
        code = subprocess.run([*_SPAWN, request["script"]], check=False).returncode if request["script"] else 0
        _publish(channel, REPLIES, json.dumps({"id": request["id"], "exit_code": code}).encode(), signing)
        channel.basic_ack(method.delivery_tag)


def _publish(channel: Any, queue: str, body: bytes, signing: SigningKey) -> None:
    frame = signing.sign(body).signature + body
    channel.basic_publish("", queue, frame, pika.BasicProperties(delivery_mode=2), mandatory=True)


def _opened(frame: bytes, key: VerifyKey) -> bytes:
    return key.verify(frame[_SIGNATURE:], frame[:_SIGNATURE])


if __name__ == "__main__":
    serve(sys.argv[1], VerifyKey(bytes.fromhex(sys.argv[2])), SigningKey(bytes.fromhex(sys.argv[3])))

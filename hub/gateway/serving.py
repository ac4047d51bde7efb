"""Serves the gateway: TLS 1.3, with the key that the trust document pins."""

import socket
from collections.abc import Callable

from flask import Flask

from hub.serving import serve
from wire.keys import SigningKey
from wire.tls import make_certificate, server_context

THREADS = 64
_NAME = "manyarm-gateway"


def serve_gateway(
    app_factory: Callable[[], Flask],
    listener: socket.socket,
    key: SigningKey,
    *,
    threads: int = THREADS,
    on_ready: Callable[[], None] | None = None,
) -> None:
    """Serve until a signal ends the process.

    Args:
        app_factory: Makes the application, in the worker.
        listener: From `hub.serving.listen`.
        key: The hub's `tls-gateway` key; the certificate around it is made anew, for nobody looks at more than the key.
        threads: Requests at once.
        on_ready: Called once it answers.
    """

    def context() -> object:
        return server_context(*make_certificate(key.seed, _NAME))

    serve(app_factory, listener=listener, threads=threads, tls=context, on_ready=on_ready)

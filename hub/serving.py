"""Serves a web application with gunicorn: one worker of many threads, so that open log streams hold nobody up."""

import logging
import os
import socket
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger

from hub.storage.database import keep_connection

AppFactory = Callable[[], Flask]
# Made by wire/tls.py, the one door to TLS; here it is only handed on.
TlsContextFactory = Callable[[], object]

_SILENCE_S = 30

logger = logging.getLogger(__name__)


def serve(
    app_factory: AppFactory,
    *,
    listener: socket.socket,
    threads: int,
    tls: TlsContextFactory | None = None,
    on_ready: Callable[[], None] | None = None,
) -> None:
    """Serve until a signal ends the process (TERM: what is under way gets two seconds).

    Args:
        app_factory: Called once in the worker, after the fork: what it opens belongs to that process.
        listener: Bound already, by `listen`: a port in use is then known before anything else has started.
        threads: How many requests, open streams included, run at once.
        tls: The server's context, asked for with each connection, in the worker alone; None is plain HTTP.
        on_ready: Called in the worker once it can answer.
    """
    _Server(app_factory, listener, threads, tls, on_ready).run()


def listen(host: str, port: int) -> socket.socket:
    """A bound, listening socket.

    Raises:
        OSError: the port is in use, or may not be used.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted sockets inherit both: half a handshake or half a request holds a thread no longer than this.
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            listener.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", _SILENCE_S, 0))
        listener.bind(address)
        listener.listen(512)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def _with_kept_connection(serve: Callable[..., Any]) -> Callable[..., Any]:
    """The worker's threads live as long as it does: opening a database for each request costs more than reading it."""

    def serve_kept(*arguments: Any) -> Any:
        keep_connection()
        return serve(*arguments)

    return serve_kept


def shown_in_tls(environ: Mapping[str, Any]) -> bytes | None:
    """The certificate (DER) that the client of a request has shown and proved to own; None where it showed none."""
    read = getattr(environ.get("gunicorn.socket"), "getpeercert", None)
    shown: bytes | None = read(True) if read is not None else None
    return shown


class _QuietLogger(Logger):  # type: ignore[misc]  # gunicorn ships no types
    """Errors go to our own logging; nobody asked for a second access log."""

    def setup(self, _cfg: object) -> None:
        self.error_log = logging.getLogger("hub.serving")
        self.access_log = logging.getLogger("hub.serving.access")

    def access(self, *_: object, **__: object) -> None:
        return


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn ships no types
    def __init__(
        self,
        app_factory: AppFactory,
        listener: socket.socket,
        threads: int,
        tls: TlsContextFactory | None,
        on_ready: Callable[[], None] | None,
    ) -> None:
        self._app_factory = app_factory
        self._listener = listener
        self._threads = threads
        self._tls = tls
        self._on_ready = on_ready
        super().__init__()

    def load_config(self) -> None:
        settings: dict[str, Any] = {
            "bind": [f"fd://{self._listener.fileno()}"],
            "workers": 1,
            "worker_class": "gthread",
            "threads": self._threads,
            "worker_connections": max(1_000, 2 * self._threads),
            "graceful_timeout": 2,
            # A worker that hangs is ended; an open stream does not count as hanging with gthread.
            "timeout": 60,
            "keepalive": 75,
            "control_socket_disable": True,
            "logger_class": _QuietLogger,
            "limit_request_line": 8_190,
            "limit_request_fields": 64,
            "limit_request_field_size": 16_380,
            "forwarded_allow_ips": "",
        }
        memory = Path("/dev/shm")  # noqa: S108  the worker's heartbeat file: no disk may delay it
        if os.access(memory, os.W_OK):
            settings["worker_tmp_dir"] = str(memory)
        if self._on_ready is not None:
            on_ready = self._on_ready
            settings["post_worker_init"] = lambda _worker: on_ready()
        if self._tls is not None:
            settings |= self._tls_settings(self._tls)
        for name, value in settings.items():
            self.cfg.set(name, value)

    def _tls_settings(self, tls: TlsContextFactory) -> dict[str, Any]:
        def context(_config: object, _default: object) -> object:
            return tls()

        # gunicorn takes a certificate's name for the sign that TLS is wanted, and then reads ours from `ssl_context`.
        return {"certfile": "/dev/null", "ssl_context": context, "do_handshake_on_connect": False}

    def load(self) -> Flask:
        # In the worker and before its first connection: two that came at once would each open the database anew.
        app = self._app_factory()
        app.wsgi_app = _with_kept_connection(app.wsgi_app)  # type: ignore[method-assign]  # Flask's own way.
        if self._tls is not None:
            self._tls()
        return app

    def run(self) -> None:
        Arbiter(self).run()

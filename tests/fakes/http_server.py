"""Servers that answer over HTTP as a test says, well or badly: each connection is one thread that the test writes."""

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

Serve = Callable[[socket.socket, bytes], None]


class FakeServer:
    """Reads a request, notes it in `asked`, then does what `serve(connection, request)` does."""

    def __init__(self, listener: socket.socket, serve: Serve, context: ssl.SSLContext | None = None) -> None:
        self.asked: list[bytes] = []
        self.port: int = 0 if listener.family == socket.AF_UNIX else listener.getsockname()[1]
        self._listener = listener
        self._serve = serve
        self._context = context
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"{'https' if self._context else 'http'}://127.0.0.1:{self.port}/"

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(30)
            speaking = self._context.wrap_socket(connection, server_side=True) if self._context else connection
            head = b""
            while b"\r\n\r\n" not in head:
                piece = speaking.recv(65536)
                if not piece:
                    break
                head += piece
            said = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
            while len(head.partition(b"\r\n\r\n")[2]) < int(said.group(1) if said else 0):
                head += speaking.recv(65536)
            self.asked.append(head)
            self._serve(speaking, head)
            with contextlib.suppress(OSError):
                speaking.shutdown(socket.SHUT_RDWR)
            speaking.close()


@contextlib.contextmanager
def fake_server(
    serve: Serve | str | bytes, context: ssl.SSLContext | None = None, path: Path | None = None
) -> Iterator[FakeServer]:
    """A server on a free loopback port, or on a Unix socket; bytes or text are what it answers to all."""
    if isinstance(serve, (str, bytes)):
        answer = serve.encode() if isinstance(serve, str) else serve

        def say(connection: socket.socket, _head: bytes) -> None:
            connection.sendall(answer)

        serve = say
    if path is None:
        listener = socket.create_server(("127.0.0.1", 0))
    else:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
    server = FakeServer(listener, serve, context)
    try:
        yield server
    finally:
        server.close()


def response(body: bytes | str = b"", status: str = "200 OK", **headers: str) -> bytes:
    """A whole answer with its length; `Content_Type="…"` gives a header."""
    content = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content

"""WebSockets over our TLS, by the `websockets` library, which no other file imports: dialling, listening, one socket.

Nothing is sent to a peer before it is known. A dialler compares the peer between TLS and the WebSocket's first byte;
what it gets back from there was said after the listener had judged the dialler's certificate, so an open socket is an
accepted one. Both sides ping: a half-open connection is found within half a minute.
"""

import asyncio
import contextlib
import logging
import socket
from asyncio import sslproto
from collections.abc import AsyncIterator, Callable
from enum import StrEnum
from functools import partial
from typing import Any, cast

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.connection import Connection as LibraryConnection
from websockets.asyncio.server import Server, ServerConnection
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from wire.errors import Code, ConnectionLost, Refused, WireError, excerpt
from wire.tls import TlsContext, TlsPeer
from wire.topology import MAX_MESSAGE_BYTES

logger = logging.getLogger(__name__)
# It tells of every ordinary end with a stack trace; what matters of them is said here.
logging.getLogger("websockets").setLevel(logging.CRITICAL)

SUBPROTOCOL = Subprotocol("manyarm.v1")
HANDSHAKE_S = 10.0
_PING_EVERY_S, _PONG_WITHIN_S, _CLOSE_WITHIN_S = 10.0, 10.0, 2.0
# Of unacknowledged bytes: where the send buffer is full no ping gets out either.
_DEAD_AFTER_MS = 25_000
_QUEUED_FRAMES = 4
_WRITE_BUFFER = 64 * 1024
_TLS_READ_BUFFER = 16 * 1024
_PROXY_ANSWER_MAX = 16 * 1024


class Failure(StrEnum):
    """Why nobody was reached: what a person has to look at."""

    NAME = "name-unknown"
    PORT = "port-closed"
    TIMEOUT = "timeout"
    PROXY = "proxy-refused"
    NOT_TLS = "not-a-spoke"
    PIN = "thumbprint-differs"
    REFUSED = "refused-by-peer"
    LOST = "connection-lost"


class CannotDial(WireError):
    """No socket; `failure` says why in one word, the message in a sentence."""

    def __init__(self, failure: Failure, sentence: str) -> None:
        self.failure = failure
        super().__init__(sentence)


class WebSocket:
    """One open socket, used by one loop; sending waits while the peer does not read."""

    def __init__(self, connection: LibraryConnection, path: str, peer: str) -> None:
        self._connection = connection
        self.path = path
        self.peer = peer

    async def send(self, message: bytes | str) -> None:
        """Raises ConnectionLost."""
        try:
            await self._connection.send(message)
        except ConnectionClosed as error:
            raise ConnectionLost(f"the connection with {self.peer} ended: {error}") from error

    async def receive(self) -> bytes | str:
        """The next message, binary or text; Raises ConnectionLost."""
        try:
            return await self._connection.recv()
        except ConnectionClosed as error:
            raise ConnectionLost(f"the connection with {self.peer} ended: {error}") from error

    @property
    def is_open(self) -> bool:
        return self._connection.state is State.OPEN

    async def ended(self) -> None:
        """Returns when the connection is gone; nothing is read meanwhile."""
        await self._connection.wait_closed()

    async def close(self) -> None:
        """Waits a moment for the peer to agree."""
        await self._connection.close()

    def abort(self) -> None:
        """At once, whatever is on its way."""
        self._connection.transport.abort()


async def dial(
    address: tuple[str, int],
    path: str,
    *,
    tls: TlsContext,
    check: Callable[[TlsPeer], None],
    proxy: tuple[str, int] | None = None,
    handshake_s: float = HANDSHAKE_S,
) -> WebSocket:
    """An open socket with a listener that has passed `check` and has taken our certificate.

    Args:
        check: Compares the peer; Refused is passed on, and nothing was sent.
        proxy: Asked to connect us (HTTP CONNECT).

    Raises:
        CannotDial, Refused.
    """
    shown = f"{address[0]}:{address[1]}"
    deadline = asyncio.get_running_loop().time() + handshake_s
    try:
        async with asyncio.timeout_at(deadline):
            plain = await _tcp(proxy or address, "the proxy" if proxy else shown)
            try:
                if proxy is not None:
                    await _ask_proxy(plain, address)
                connection = await _secured(plain, address[0], path, tls)
            except BaseException:
                plain.close()
                raise
            return await _opened(connection, path, shown, check)
    except TimeoutError as error:
        raise CannotDial(Failure.TIMEOUT, f"{shown} did not answer within {handshake_s:g} s") from error


async def _tcp(address: tuple[str, int], shown: str) -> socket.socket:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(*address, type=socket.SOCK_STREAM)
    except OSError as error:
        raise CannotDial(Failure.NAME, f"{shown}: its name is not known here") from error
    failure: OSError | None = None
    for family, kind, protocol, _, place in found:
        plain = socket.socket(family, kind, protocol)
        plain.setblocking(False)
        try:
            await loop.sock_connect(plain, place)
        except OSError as error:
            plain.close()
            failure = error
        except BaseException:
            plain.close()
            raise
        else:
            _notice_death(plain)
            return plain
    raise CannotDial(Failure.PORT, f"{shown} takes no connections ({failure})") from failure


async def _ask_proxy(plain: socket.socket, address: tuple[str, int]) -> None:
    loop = asyncio.get_running_loop()
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    place = f"{host}:{address[1]}".encode("ascii")
    await loop.sock_sendall(plain, b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (place, place))
    said = b""
    # A byte at a time: what follows the blank line is not the proxy's any more.
    while not said.endswith(b"\r\n\r\n"):
        piece = await loop.sock_recv(plain, 1)
        if not piece or len(said) > _PROXY_ANSWER_MAX:
            raise CannotDial(Failure.PROXY, "the proxy gave no answer to CONNECT")
        said += piece
    line = said.split(b"\r\n", 1)[0]
    if line.split(b" ", 2)[1:2] != [b"200"]:
        raise CannotDial(Failure.PROXY, f"the proxy refused: {excerpt(line)}")


async def _secured(plain: socket.socket, host: str, path: str, tls: TlsContext) -> ClientConnection:
    protocol = ClientProtocol(parse_uri(f"wss://manyarm{path}"), subprotocols=[SUBPROTOCOL], max_size=MAX_MESSAGE_BYTES)
    try:
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: ClientConnection(protocol, **_keeping()),
            sock=plain,
            ssl=tls,
            # Nobody's name is checked or told: the key is.
            server_hostname="manyarm",
            ssl_handshake_timeout=HANDSHAKE_S,
        )
    except (OSError, ConnectionError) as error:
        raise CannotDial(
            Failure.NOT_TLS, f"{host} is no listening spoke: no TLS 1.3 there ({excerpt(str(error))})"
        ) from error
    return connection


async def _opened(connection: ClientConnection, path: str, shown: str, check: Callable[[TlsPeer], None]) -> WebSocket:
    try:
        check(connection.transport.get_extra_info("ssl_object"))
        await connection.handshake(user_agent_header=None)
    except BaseException as error:
        connection.transport.abort()
        if isinstance(error, InvalidHandshake | EOFError | OSError):
            raise _why_not_opened(connection, shown, error) from error
        raise
    if connection.subprotocol != SUBPROTOCOL:
        connection.transport.abort()
        raise CannotDial(Failure.NOT_TLS, f"{shown} does not speak {SUBPROTOCOL}")
    connection.start_keepalive()
    return WebSocket(connection, path, shown)


def _why_not_opened(connection: ClientConnection, shown: str, error: BaseException) -> CannotDial:
    """With TLS 1.3 our side is ready before the listener has judged our certificate: its refusal looks like this."""
    if connection.response is None:
        return CannotDial(
            Failure.REFUSED, f"{shown} refused us: it does not know this key, or has no room for more connections"
        )
    return CannotDial(Failure.NOT_TLS, f"{shown} speaks TLS and is no listening spoke ({excerpt(str(error))})")


class Listener:
    """Takes connections, few at a time, and none into its confidence before TLS has shown who it is.

    Args:
        tls: As `retrust`.
        serve: Called with each open socket; its end closes the socket.
        paths: Those that may be asked for.
        open_paths: Of these, the ones for peers who show no certificate; `most_open` of them at a time.
        most: Connections at a time; `most_each`: of one address. Where one comes too many, the oldest that has not yet
            shown who it is makes room; where all have, the newcomer goes.
        refused: Told of each connection that never became a socket: a word for counting and a sentence.
    """

    def __init__(
        self,
        tls: TlsContext,
        serve: Callable[[WebSocket], Any],
        *,
        paths: frozenset[str],
        open_paths: frozenset[str] = frozenset(),
        most_open: int = 4,
        most: int = 64,
        most_each: int = 4,
        refused: Callable[[str, str], None] = lambda _word, _sentence: None,
    ) -> None:
        self._tls = tls
        self._serve = serve
        self._paths = paths
        self._open_paths = open_paths
        self._most_open = most_open
        self._most = most
        self._most_each = most_each
        self._refused = refused
        self._guests: dict[asyncio.Task[None], _Guest] = {}
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None

    def start(self, plain: socket.socket) -> None:
        """Take connections from this listening socket, which is closed with the listener."""
        plain.setblocking(False)
        self._socket = plain
        self._accepting = asyncio.get_running_loop().create_task(self._accept(plain))

    def retrust(self, tls: TlsContext, still_known: Callable[[TlsPeer], bool]) -> None:
        """The next connection is judged by the new context; those that it would not take are closed now."""
        self._tls = tls
        for task, guest in list(self._guests.items()):
            if guest.peer is None or not still_known(guest.peer):
                task.cancel()

    @property
    def count(self) -> int:
        return len(self._guests)

    async def close(self) -> None:
        tasks = [*self._guests, *([self._accepting] if self._accepting is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()

    async def _accept(self, plain: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, place = await loop.sock_accept(plain)
            except OSError as error:
                # Out of descriptors, most likely: what is open may end soon.
                logger.warning("connection not accepted", extra={"why": str(error)})
                await asyncio.sleep(0.2)
                continue
            guest = _Guest(str(place[0]))
            if not self._has_room(guest.address):
                accepted.close()
                self._refused("crowded", f"{guest.address}: too many connections")
                continue
            task = loop.create_task(self._welcome(accepted, guest))
            self._guests[task] = guest
            task.add_done_callback(self._left)

    def _has_room(self, address: str) -> bool:
        for guests, most in (
            ([task for task, guest in self._guests.items() if guest.address == address], self._most_each),
            (list(self._guests), self._most),
        ):
            if len(guests) < most:
                continue
            stranger = next((task for task in guests if self._guests[task].peer is None), None)
            if stranger is None:
                return False
            stranger.cancel()
            self._guests.pop(stranger)
            self._refused("crowded", f"{address}: an older connection that said nothing made room")
        return True

    def _left(self, task: "asyncio.Task[None]") -> None:
        self._guests.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a connection failed", exc_info=error)

    async def _welcome(self, accepted: socket.socket, guest: "_Guest") -> None:
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                opened = await self._handshake(accepted, guest)
        except Refused as refusal:
            self._refused(str(refusal.code), f"{guest.address}: {refusal.detail}")
        except TimeoutError:
            self._refused("slow", f"{guest.address}: said nothing that counts for {HANDSHAKE_S:g} s")
        except (OSError, EOFError, InvalidHandshake) as error:
            self._refused(_word_of(error), f"{guest.address}: {_said_of(error)}")
        else:
            if opened is not None:
                await self._attend(opened)
        finally:
            accepted.close()

    async def _handshake(self, accepted: socket.socket, guest: "_Guest") -> "tuple[_Taken, WebSocket] | None":
        accepted.setblocking(False)
        _notice_death(accepted)
        protocol = ServerProtocol(subprotocols=[SUBPROTOCOL], max_size=MAX_MESSAGE_BYTES)
        transport, connection = await asyncio.get_running_loop().connect_accepted_socket(
            lambda: _Taken(protocol, _SERVING, **_keeping()),
            accepted,
            ssl=self._tls,
            ssl_handshake_timeout=HANDSHAKE_S,
        )
        shown: TlsPeer = transport.get_extra_info("ssl_object")
        guest.is_nobody = not shown.getpeercert(binary_form=True)
        # Nobody never makes it into our confidence: such a one makes room for others as if it had said nothing.
        guest.peer = None if guest.is_nobody and self._open_paths else shown
        try:
            await connection.handshake(process_request=partial(self._only_known_paths, guest=guest), server_header=None)
        except BaseException:
            transport.abort()
            raise
        if guest.is_turned_away:
            raise Refused(Code.TLS_NOCERT, "the peer showed no certificate")
        request = connection.request
        if request is None or connection.subprotocol != SUBPROTOCOL:
            transport.abort()
            self._refused("no-websocket", f"{guest.address}: no WebSocket of {SUBPROTOCOL}")
            return None
        return connection, WebSocket(connection, request.path, guest.address)

    def _only_known_paths(self, connection: ServerConnection, request: Request, *, guest: "_Guest") -> Response | None:
        if guest.is_nobody and self._open_paths:
            crowd = sum(other.is_nobody for other in self._guests.values())
            if request.path not in self._open_paths or crowd > self._most_open:
                # Not a word: whoever has no certificate learns of no other path.
                guest.is_turned_away = True
                connection.transport.abort()
        return None if request.path in self._paths else connection.respond(404, "")

    async def _attend(self, opened: "tuple[_Taken, WebSocket]") -> None:
        connection, websocket = opened
        connection.start_keepalive()
        try:
            await self._serve(websocket)
        except ConnectionLost as error:
            logger.debug("connection ended", extra={"why": str(error)})
        finally:
            connection.transport.abort()


class _Guest:
    """One who has connected; `peer` is who TLS says it is, None before."""

    __slots__ = ("address", "is_nobody", "is_turned_away", "peer")

    def __init__(self, address: str) -> None:
        self.address = address
        self.peer: TlsPeer | None = None
        self.is_nobody = False
        self.is_turned_away = False


class _Serving:
    """What the library asks of its server, which is not used: connections are counted before TLS here."""

    def is_serving(self) -> bool:
        return True


_SERVING = cast("Server", _Serving())  # the library asks only whether it serves


class _Taken(ServerConnection):
    """The library's connection, whose handshake we drive."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        LibraryConnection.connection_made(self, transport)


@contextlib.asynccontextmanager
async def closing(websocket: WebSocket) -> AsyncIterator[WebSocket]:
    """The socket is closed with the block, however it ends."""
    try:
        yield websocket
    finally:
        websocket.abort()


def listening_socket(address: tuple[str, int]) -> socket.socket:
    """Bound and listening; OSError where that cannot be."""
    family, _, _, _, place = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    plain = socket.socket(family, socket.SOCK_STREAM)
    try:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        plain.bind(place)
        plain.listen(128)
    except OSError:
        plain.close()
        raise
    return plain


def prepare_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Before the first connection of a loop: small buffers, and no stack traces for peers that are not let in."""
    # Python reserves 256 KiB a TLS connection otherwise, which for a thousand is all the memory that a relay may have.
    sslproto.SSLProtocol.max_size = _TLS_READ_BUFFER
    loop.set_exception_handler(_told)


def _told(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    if isinstance(error, WireError | OSError):
        logger.debug("connection refused", extra={"why": str(error)})
        return
    loop.default_exception_handler(context)


def _keeping() -> dict[str, Any]:
    return {
        "ping_interval": _PING_EVERY_S,
        "ping_timeout": _PONG_WITHIN_S,
        "close_timeout": _CLOSE_WITHIN_S,
        "max_queue": _QUEUED_FRAMES,
        "write_limit": _WRITE_BUFFER,
    }


def _notice_death(plain: socket.socket) -> None:
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_AFTER_MS)


def _said_of(error: BaseException) -> str:
    """OpenSSL's own words for what is wrong with a certificate, else an excerpt."""
    return str(getattr(error, "verify_message", "") or excerpt(str(error)))


def _word_of(error: BaseException) -> str:
    """One counter for all that was no honest peer's."""
    reason = str(getattr(error, "reason", "") or "")
    if "CERTIFICATE" in reason:
        return str(Code.TLS_NOCERT if "DID_NOT_RETURN" in reason else Code.TLS_PIN)
    if "VERSION" in reason or "PROTOCOL" in reason:
        return str(Code.TLS_VERSION)
    return "junk"

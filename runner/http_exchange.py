"""One request over HTTP, bounded in time and in size whatever the other side does: no proxy, no cookie, nothing shared.

Every wait ends at one moment, `ends_at` of time.monotonic(): looking up the name, connecting, TLS, each read and write.
A name is looked up once and what was found is dialled. A redirect is followed only on request, never to a less public
address than the first, never from https to http; whoever else it leads to gets none of the headers that were given.
"""

from __future__ import annotations

import http.client
import socket
from dataclasses import dataclass, field, replace
from typing import Any, Dict, Sequence, Tuple
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from runner.errors import NoGoodAnswer, StepFailed
from runner.http_connection import PORTS, Connection, Place, Way, connect

BODY_MAX_BYTES = 1024 * 1024
REDIRECTS_MAX = 5
_PIECE_BYTES = 64 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# What a URL may hold as it stands; all else of it is written in percent.
_KEPT = "%/:=&?~+!$,;'@()*[]"

Header = Tuple[str, str]


@dataclass(frozen=True)
class Request:
    """What is asked. `path` begins with a slash and holds the query."""

    method: str
    place: Place
    path: str
    headers: Tuple[Header, ...] = ()
    body: bytes = b""

    @property
    def url(self) -> str:
        return f"{self.place}{self.path}"


@dataclass
class Answer:
    """What came back; its body is read when it is asked for."""

    status: int
    reason: str
    headers: Any
    url: str
    _response: http.client.HTTPResponse = field(repr=False)
    _connection: Connection = field(repr=False)

    def body(self, most: int, ends_at: float) -> bytes:
        """The first `most` bytes.

        Raises:
            NoGoodAnswer: it did not end in time, or ended before it was whole; `read` holds what came.
        """
        read = bytearray()
        self._connection.ends_at = ends_at
        try:
            while len(read) < most:
                piece = self._response.read1(min(_PIECE_BYTES, most - len(read)))
                if not piece:
                    break
                read += piece
        except (TimeoutError, socket.timeout):
            raise NoGoodAnswer(f"the body did not end in time ({len(read)} bytes came)", bytes(read)) from None
        except (http.client.HTTPException, OSError) as error:
            raise NoGoodAnswer(f"the body ended before it was whole ({len(read)} bytes came)", bytes(read)) from error
        if len(read) < most and self._response.length:
            raise NoGoodAnswer(
                f"the body ended before it was whole: {self._response.length} of its bytes are missing", bytes(read)
            )
        return bytes(read)

    def close(self) -> None:
        self._connection.hang_up()


def request_of(method: str, url: str, headers: Sequence[Header] = (), body: bytes = b"") -> Request:
    """A request for a URL that a person typed.

    Raises:
        StepFailed: it is no URL for HTTP; the sentence says why.
    """
    if any(ord(letter) <= 32 or ord(letter) == 127 for letter in url):
        raise StepFailed(f"a URL holds no spaces and no control characters: {url!r}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise StepFailed(f"no URL: {url!r} ({error})") from error
    if parts.scheme not in PORTS:
        raise StepFailed(f"a URL begins with http:// or https://, and this one does not: {url!r}")
    if "@" in parts.netloc:
        raise StepFailed("a URL holds no user and no password here: they have properties of their own")
    if not parts.hostname or port == 0:
        raise StepFailed(f"the URL names no {'host' if not parts.hostname else 'port that could be'}: {url!r}")
    place = Place(parts.scheme, _ascii_host(parts.hostname), port or PORTS[parts.scheme])
    return Request(method, place, _path(parts), tuple(headers), body)


def _ascii_host(host: str) -> str:
    try:
        return host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise StepFailed(f"no host can have the name {host!r}") from error


def _path(parts: SplitResult) -> str:
    path = quote(parts.path or "/", safe=_KEPT)
    return f"{path}?{quote(parts.query, safe=_KEPT)}" if parts.query else path


def ask(request: Request, way: Way, ends_at: float) -> Answer:
    """Ask, and follow redirects where the way says so.

    Raises:
        NoGoodAnswer: there is none by `ends_at`, or none that HTTP knows; the sentence says why.
        StepFailed: the certificates to trust cannot be read.
    """
    try:
        return _followed(request, way, ends_at)
    except (TimeoutError, socket.timeout):
        raise NoGoodAnswer("no answer in time") from None


def _followed(request: Request, way: Way, ends_at: float) -> Answer:
    first = request
    innermost = None
    for _ in range(REDIRECTS_MAX + 1):
        connection = connect(request.place, way, ends_at, innermost)
        innermost = connection.inwardness if innermost is None else innermost
        try:
            answer = _exchanged(request, connection)
        except BaseException:
            connection.hang_up()
            raise
        goal = answer.headers.get("Location")
        if not way.follow_redirects or answer.status not in _REDIRECTS or not goal:
            return answer
        answer.close()
        request = _redirected(request, first, answer.status, goal, way)
    raise NoGoodAnswer(f"more than {REDIRECTS_MAX} redirects, the last one to {request.url}")


def _redirected(request: Request, first: Request, status: int, goal: str, way: Way) -> Request:
    try:
        following = request_of(request.method, urljoin(request.url, goal))
    except (StepFailed, ValueError) as error:
        raise NoGoodAnswer(f"a redirect leads to no URL: {error}") from error
    if request.place.scheme == "https" and following.place.scheme == "http":
        raise NoGoodAnswer(f"a redirect from https to http is not followed: {following.url}")
    if following.place != first.place and (way.unix_socket or first.body):
        raise NoGoodAnswer(f"a redirect to another place is not followed here: {following.url}")
    if following.place == first.place:
        following = replace(following, headers=first.headers, body=request.body)
    if status == 303 or (status in (301, 302) and request.method == "POST"):
        method = "HEAD" if request.method == "HEAD" else "GET"
        following = replace(following, method=method, body=b"")
    return following


def _exchanged(request: Request, connection: Connection) -> Answer:
    place = request.place
    asking = http.client.HTTPConnection(place.host, place.port)
    asking.default_port = PORTS[place.scheme]
    # It is all that http.client asks of a socket.
    asking.sock = connection
    given = {name.lower() for name, _ in request.headers}
    ours: Dict[str, str] = {"User-Agent": "manyarm-http-check", "Accept": "*/*", "Connection": "close"}
    if request.body or request.method in ("POST", "PUT"):
        ours["Content-Length"] = str(len(request.body))
    try:
        asking.putrequest(request.method, request.path, skip_host="host" in given, skip_accept_encoding=True)
        for name, value in (*((n, v) for n, v in ours.items() if n.lower() not in given), *request.headers):
            asking.putheader(name, value.encode("utf-8", "surrogateescape"))
        asking.endheaders(request.body or None)
        response = asking.getresponse()
    except (TimeoutError, socket.timeout):
        raise NoGoodAnswer(f"no answer from {connection.peer} in time") from None
    except http.client.RemoteDisconnected as error:
        raise NoGoodAnswer(f"{connection.peer} closed the connection without an answer") from error
    except http.client.HTTPException as error:
        raise NoGoodAnswer(f"{connection.peer} does not answer as HTTP demands ({type(error).__name__})") from error
    except OSError as error:
        raise NoGoodAnswer(f"{connection.peer}: {error.strerror or error}") from error
    return Answer(response.status, response.reason, response.headers, request.url, response, connection)

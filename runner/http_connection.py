"""One connection for one request over HTTP: every wait ends at one moment, and a name is looked up once.

What was found is dialled, so that no second look-up can lead elsewhere. `ends_at` is a moment of time.monotonic().
"""

from __future__ import annotations

import io
import ipaddress
import queue
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, List, Tuple

from runner.errors import NoGoodAnswer, StepFailed

if TYPE_CHECKING:
    import ssl

PORTS = {"http": 80, "https": 443}
_ADDRESSES_MAX = 8
# Clouds tell machines their secrets there, outside of what is link-local.
_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200", "168.63.129.16")))


@dataclass(frozen=True)
class Place:
    """Who is asked: what two URLs must share for one to get the other's headers."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + (f":{self.port}" if self.port != PORTS[self.scheme] else "")


@dataclass(frozen=True)
class Way:
    """How it is asked.

    Args:
        unix_socket: The path of a socket to ask through; empty: over the network.
        ca_file: Certificates to trust; empty: those of the machine.
        is_insecure: Whether the certificate is looked at is no question then.
        follow_redirects: Whether the answer may send us elsewhere.
    """

    unix_socket: str = ""
    ca_file: str = ""
    is_insecure: bool = False
    follow_redirects: bool = False


class Connection:
    """A socket whose every wait ends at `ends_at`; what http.client sees of it."""

    def __init__(self, sock: socket.socket, peer: str, inwardness: int, ends_at: float) -> None:
        self._sock = sock
        self.peer = peer
        self.inwardness = inwardness
        self.ends_at = ends_at

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Incoming(self))

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(_left(self.ends_at))
        self._sock.sendall(data)

    def receive(self, buffer: Any) -> int:
        self._sock.settimeout(_left(self.ends_at))
        return self._sock.recv_into(buffer)

    def wrap(self, context: ssl.SSLContext, host: str) -> None:
        """Speak TLS from here on."""
        self._sock.settimeout(_left(self.ends_at))
        self._sock = context.wrap_socket(self._sock, server_hostname=host)

    def close(self) -> None:
        """http.client is done with it; the body is still to be read from it."""

    def hang_up(self) -> None:
        self._sock.close()


def connect(place: Place, way: Way, ends_at: float, innermost: int | None) -> Connection:
    """A connection, with TLS where the place has it.

    Args:
        innermost: How far inwards (see `_inwardness`) an address may lie; None: anywhere.

    Raises:
        NoGoodAnswer: there is none by `ends_at`; the sentence says why.
        StepFailed: the certificates to trust cannot be read.
    """
    if way.unix_socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection = _dialled(sock, way.unix_socket, way.unix_socket, 0, ends_at)
    else:
        connection = _dialled_by_name(place, ends_at, innermost)
    if place.scheme == "https":
        _add_tls(connection, place.host, way)
    return connection


def _dialled_by_name(place: Place, ends_at: float, innermost: int | None) -> Connection:
    found = _looked_up(place, ends_at)
    open_to_us = [one for one in found if innermost is None or _inwardness(one[1][0]) <= innermost]
    if not open_to_us:
        raise NoGoodAnswer(f"a redirect to {place} leads to an inner address ({found[0][1][0]}) and is not followed")
    reason = ""
    for index, (family, address) in enumerate(open_to_us):
        # One address that swallows every packet must leave time for the others.
        until = time.monotonic() + _left(ends_at) / (len(open_to_us) - index)
        peer = f"[{address[0]}]:{address[1]}" if family == socket.AF_INET6 else f"{address[0]}:{address[1]}"
        try:
            connection = _dialled(
                socket.socket(family, socket.SOCK_STREAM), address, peer, _inwardness(address[0]), until
            )
        except NoGoodAnswer as error:
            reason = str(error)
            continue
        connection.ends_at = ends_at
        return connection
    raise NoGoodAnswer(reason)


def _dialled(sock: socket.socket, address: Any, peer: str, inwardness: int, ends_at: float) -> Connection:
    try:
        sock.settimeout(_left(ends_at))
        sock.connect(address)
    except (TimeoutError, socket.timeout):
        sock.close()
        raise NoGoodAnswer(f"no connection to {peer} in time") from None
    except OSError as error:
        sock.close()
        raise NoGoodAnswer(f"no connection to {peer}: {error.strerror or error}") from error
    return Connection(sock, peer, inwardness, ends_at)


def _looked_up(place: Place, ends_at: float) -> List[Tuple[int, Any]]:
    """Every address of a host, each once; in a thread of its own, for nothing else ends a look-up in time."""
    answers: queue.SimpleQueue[object] = queue.SimpleQueue()

    def look() -> None:
        try:
            answers.put(socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    threading.Thread(target=look, daemon=True).start()
    try:
        found = answers.get(timeout=_left(ends_at))
    except queue.Empty:
        raise NoGoodAnswer(f"the name {place.host!r} was not looked up in time") from None
    if not isinstance(found, list):
        raise NoGoodAnswer(f"the name {place.host!r} leads nowhere: {getattr(found, 'strerror', None) or found}")
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))[:_ADDRESSES_MAX]


def _inwardness(address: str) -> int:
    """0 for an address of the internet, 1 of a private network, 2 of this machine, 3 of its link (and of metadata)."""
    read = ipaddress.ip_address(address.partition("%")[0])
    read = getattr(read, "ipv4_mapped", None) or read
    if read.is_loopback or read.is_unspecified:
        return 2
    if read.is_link_local or read.is_multicast or read in _METADATA:
        return 3
    return 1 if read.is_private else 0


def _add_tls(connection: Connection, host: str, way: Way) -> None:
    import ssl  # late: most checks ask without

    try:
        context = ssl.create_default_context(cafile=way.ca_file or None)
    except (OSError, ssl.SSLError) as error:
        connection.hang_up()
        raise StepFailed(f"the certificates of ca_file cannot be read: {way.ca_file}: {error}") from error
    if way.is_insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        connection.wrap(context, host)
    except (TimeoutError, socket.timeout):
        connection.hang_up()
        raise NoGoodAnswer(f"{connection.peer} did not finish the TLS handshake in time") from None
    except ssl.SSLCertVerificationError as error:
        connection.hang_up()
        raise NoGoodAnswer(f"the certificate of {connection.peer} is not trusted: {error.verify_message}") from error
    except (OSError, ValueError) as error:
        connection.hang_up()
        raise NoGoodAnswer(f"no TLS with {connection.peer}: {getattr(error, 'reason', None) or error}") from error


def _left(ends_at: float) -> float:
    left = ends_at - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class _Incoming(io.RawIOBase):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._connection.receive(buffer)

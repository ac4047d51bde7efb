"""The fault proxy does what it says: each trouble on a connection of bytes that we know."""

import contextlib
import socket
import threading
import time

import pytest

from tests.chaos.proxy import FaultProxy, Trouble, Way, proxied
from tests.services.whole import until


class Echo:
    """Says back what it hears, and keeps what it heard."""

    def __init__(self) -> None:
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        self.heard = bytearray()
        self.closed = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                line, _ = self._door.accept()
                threading.Thread(target=self._say_back, args=(line,), daemon=True).start()

    def _say_back(self, line: socket.socket) -> None:
        with line, contextlib.suppress(OSError):
            while data := line.recv(65_536):
                self.heard += data
                line.sendall(data)
        self.closed += 1

    def close(self) -> None:
        self._door.close()


@pytest.fixture
def echo():
    made = Echo()
    yield made
    made.close()


@pytest.fixture
def proxy(echo):
    with proxied(echo.port) as made:
        yield made


def connected(proxy: FaultProxy) -> socket.socket:
    line = socket.create_connection(("127.0.0.1", proxy.port), timeout=30)
    line.sendall(b"?")
    assert line.recv(1) == b"?"
    return line


def said_back(line: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size and (data := line.recv(size - len(got))):
        got += data
    return got


def talk_for_ever(line: socket.socket) -> None:
    with line:
        while line.send(b"x" * 600):
            said_back(line, 600)


def test_without_trouble_every_byte_passes(proxy):
    content = bytes(range(256)) * 4_000
    with connected(proxy) as line:
        threading.Thread(target=line.sendall, args=(content,), daemon=True).start()
        assert said_back(line, len(content)) == content


@pytest.mark.parametrize("way", [Way.UP, Way.DOWN, Way.BOTH])
def test_what_is_held_does_not_arrive_and_comes_when_it_is_healed(proxy, echo, way):
    with connected(proxy) as line:
        proxy.meet(Trouble(way, held=True))
        line.sendall(b"hello")
        if way is Way.DOWN:
            until(lambda: echo.heard == b"?hello", "what goes up is not held")
        line.settimeout(0.3)
        with pytest.raises(TimeoutError):
            line.recv(1)
        assert way is Way.DOWN or echo.heard == b"?"
        line.settimeout(30)
        proxy.heal()
        assert said_back(line, 5) == b"hello"


def test_a_connection_is_reset_after_so_many_bytes(proxy, echo):
    with connected(proxy) as line:
        proxy.meet(Trouble(Way.UP, reset_after=1_000))
        with pytest.raises(ConnectionError):
            talk_for_ever(line)
        until(lambda: echo.closed, "the server was not told")
        assert len(echo.heard) <= 1 + 1_000


def test_one_bit_of_one_byte_is_turned(proxy):
    with connected(proxy) as line:
        proxy.meet(Trouble(Way.UP, flip_at=5))
        line.sendall(b"0123456789")
        assert said_back(line, 10) == b"01234" + bytes([ord("5") ^ 0x10]) + b"6789"
        line.sendall(b"0123456789")
        assert said_back(line, 10) == b"0123456789"


def test_a_slow_line_lets_everything_through_late(proxy):
    with connected(proxy) as line:
        proxy.meet(Trouble(Way.DOWN, bytes_per_s=100))
        began = time.monotonic()
        line.sendall(b"x" * 30)
        assert said_back(line, 30) == b"x" * 30
        assert time.monotonic() - began > 0.25


def test_latency_is_before_each_piece(proxy):
    with connected(proxy) as line:
        proxy.meet(Trouble(latency_s=0.2))
        began = time.monotonic()
        line.sendall(b"x")
        assert said_back(line, 1) == b"x"
        assert time.monotonic() - began > 0.35


def test_a_cut_is_a_reset_and_a_refusal_is_one_for_those_who_come(proxy):
    with connected(proxy) as line:
        proxy.meet(Trouble(refuses=True))
        with pytest.raises(ConnectionError):
            talk_for_ever(line)
    with pytest.raises(ConnectionError):
        talk_for_ever(socket.create_connection(("127.0.0.1", proxy.port), timeout=30))
    proxy.heal()
    connected(proxy).close()


def test_who_has_vanished_does_not_come_back_with_the_weather(proxy):
    with connected(proxy) as line:
        proxy.vanish()
        proxy.heal()
        line.sendall(b"hello")
        line.settimeout(0.3)
        with pytest.raises(TimeoutError):
            line.recv(1)
        connected(proxy).close()


def test_trouble_may_be_for_some_alone(proxy):
    with connected(proxy) as first, connected(proxy) as second:
        proxy.meet(Trouble(held=True), whom=lambda number: number == 1)
        second.sendall(b"b")
        assert said_back(second, 1) == b"b"
        first.sendall(b"a")
        first.settimeout(0.3)
        with pytest.raises(TimeoutError):
            first.recv(1)


def test_with_nobody_behind_the_door_there_is_no_door(echo):
    free = socket.create_server(("127.0.0.1", 0))
    port = free.getsockname()[1]
    free.close()
    with proxied(port) as proxy, pytest.raises(ConnectionError):
        talk_for_ever(socket.create_connection(("127.0.0.1", proxy.port), timeout=30))

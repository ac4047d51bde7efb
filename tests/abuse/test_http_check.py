"""Where the answers of strangers may send a health check: never further inwards than its author sent it."""

import socket
import threading
import time

import pytest

from runner import http_connection
from runner.errors import NoGoodAnswer
from runner.http_connection import Place, Way, connect


def test_t165_a_redirect_of_a_server_never_leads_further_inwards():
    """Loopback may lead to loopback; nothing leads to a metadata service, written in whatever way."""
    for host in (
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "2852039166",
        "0xa9fea9fe",
        "fd00:ec2::254",
        "100.100.100.200",
    ):
        for innermost in (0, 1, 2):
            with pytest.raises(NoGoodAnswer, match="leads to an inner address"):
                connect(Place("http", host.strip("[]"), 80), Way(), time.monotonic() + 5, innermost)
    for host in ("127.0.0.1", "localhost", "0.0.0.0", "::1", "::ffff:127.0.0.1", "2130706433", "127.1"):
        for innermost in (0, 1):
            with pytest.raises(NoGoodAnswer, match="leads to an inner address"):
                connect(Place("http", host, 80), Way(), time.monotonic() + 5, innermost)
    for host in ("10.0.0.1", "192.168.1.1", "fd12::1"):
        with pytest.raises(NoGoodAnswer, match="leads to an inner address"):
            connect(Place("http", host, 80), Way(), time.monotonic() + 5, 0)


def test_t165_a_name_is_looked_up_once_for_each_question(monkeypatch):
    seen = []
    real = socket.getaddrinfo

    def look_up(host, port, **more):
        seen.append(host)
        return real("127.0.0.1", port, **more)

    monkeypatch.setattr(http_connection.socket, "getaddrinfo", look_up)
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=listener.accept, daemon=True).start()
    place = Place("http", "rebinding.example", listener.getsockname()[1])
    connection = connect(place, Way(), time.monotonic() + 5, 2)
    connection.hang_up()
    listener.close()
    assert seen == ["rebinding.example"]

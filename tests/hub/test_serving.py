"""A web application served by gunicorn in a process of its own."""

import http.client
import multiprocessing
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask

from hub.serving import listen, serve
from wire.tls import make_certificate, server_context, unverified_client_context


def _application() -> Flask:
    app = Flask(__name__)

    @app.get("/pid")
    def pid() -> str:
        return str(os.getpid())

    @app.get("/slow")
    def slow() -> str:
        time.sleep(1)
        return "done"

    return app


@pytest.fixture
def server():
    listener = listen("127.0.0.1", 0)
    process = multiprocessing.get_context("fork").Process(
        target=serve, args=(_application,), kwargs={"listener": listener, "threads": 8}
    )
    process.start()
    yield listener.getsockname()[1], process
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    listener.close()


def test_requests_are_answered_by_one_worker(server):
    port, process = server
    pids = {_get(port, "/pid") for _ in range(3)}
    assert len(pids) == 1
    assert int(pids.pop()) != process.pid


def test_a_request_under_way_is_finished_when_the_server_is_told_to_stop(server):
    port, process = server
    _get(port, "/pid")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/slow")
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGTERM)
    assert connection.getresponse().read() == b"done"
    process.join(20)
    assert process.exitcode == 0


def test_a_port_in_use_is_known_before_anything_starts():
    with listen("127.0.0.1", 0) as taken, pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", taken.getsockname()[1])


def test_an_accepted_connection_does_not_wait_for_ever_for_its_peer():
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        listener.setblocking(True)
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)[0] > 0


def _get(port: int, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    return connection.getresponse().read().decode()


def test_the_tls_context_is_asked_for_once_beforehand_and_then_with_each_connection(tmp_path):
    made = tmp_path / "made"

    def tls() -> object:
        with made.open("a") as notes:
            notes.write("x")
        time.sleep(0.1)
        return server_context(*make_certificate(bytes(range(32)), "test"))

    listener = listen("127.0.0.1", 0)
    server = multiprocessing.get_context("fork").Process(
        target=serve, args=(_application,), kwargs={"listener": listener, "threads": 8, "tls": tls}
    )
    server.start()
    try:
        with ThreadPoolExecutor(6) as pool:
            versions = list(pool.map(_tls_version, [listener.getsockname()[1]] * 6))
    finally:
        os.kill(server.pid, signal.SIGTERM)
        server.join(20)
        listener.close()
    assert versions == ["TLSv1.3"] * 6
    assert made.read_text() == "x" * 7


def _tls_version(port: int) -> str | None:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        unverified_client_context().wrap_socket(plain) as sock,
    ):
        return sock.version()

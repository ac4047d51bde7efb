"""The floors and peers that the tables stand on: the counting door, the bare exchange, the private sshd."""

import socket
import threading

import pytest

from bench.bare import bare_exchange
from bench.meter import metered
from bench.sshd import warm_ssh
from tests.services.rabbitmq import broker_node  # noqa: F401  A fixture.
from tests.services.requires import requires
from wire.topology import Permissions


def test_the_door_counts_the_bytes_of_both_directions_and_forgets_them_when_asked():
    with socket.create_server(("127.0.0.1", 0)) as server, metered() as door:
        door.target = server.getsockname()[1]

        def answer() -> None:
            there, _ = server.accept()
            with there:
                there.sendall(there.recv(100)[:2] * 500)

        thread = threading.Thread(target=answer)
        thread.start()
        with socket.create_connection(("127.0.0.1", door.port)) as here:
            here.sendall(b"0123456789")
            received = b"".join(iter(lambda: here.recv(4096), b""))
        thread.join()
        assert len(received) == 1000
        assert door.take() == 1010
        assert door.take() == 0


@pytest.mark.rabbitmq
def test_the_bare_exchange_runs_the_script_and_checks_the_answer(broker_node):  # noqa: F811
    broker_node.admin.ensure_user("bench", "secret", Permissions(".*", ".*", ".*"))
    with bare_exchange(broker_node.url_for("bench", "secret")) as bare:
        bare.exchange()
        bare.exchange("true")
        with pytest.raises(ValueError, match="expected an answer"):
            bare.exchange("false")


def test_the_warm_ssh_runs_commands():
    requires("sshd")
    with warm_ssh() as ssh:
        ssh.run("true")

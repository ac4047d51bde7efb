"""Free ports, and the end of an epmd."""

import errno
import socket
import time

from hub.broker.errors import PortTaken

_EPMD_WAIT_S = 3.0
_POLL_S = 0.01


def is_free(address: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as trial:
        # As the node does: a port whose last connections are still fading counts as free.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((address, port))
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise PortTaken(f"the broker cannot listen on {address}:{port}: {error.strerror}") from error
        return True


def free_ports(count: int) -> list[int]:
    """Different ones: all are held while the next is asked for."""
    trials = [socket.socket() for _ in range(count)]
    try:
        for trial in trials:
            trial.bind(("127.0.0.1", 0))
        return [int(trial.getsockname()[1]) for trial in trials]
    finally:
        for trial in trials:
            trial.close()


def end_epmd(port: int) -> bool:
    """Ask it to end, which it does only while no node is registered there; whether it is gone."""
    deadline = time.monotonic() + _EPMD_WAIT_S
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as client:
                client.sendall(b"\x00\x01k")
                if client.recv(2) not in {b"OK", b"NO", b""}:
                    # Somebody else has the port by now.
                    return False
        except ConnectionRefusedError:
            return True
        except OSError:
            # It went away in the middle of its answer: the next try finds nobody.
            continue
        time.sleep(_POLL_S)
    return False

"""Free ports of this machine: taken and let go, so that whoever comes next may have them."""

import socket


def free_ports(count: int) -> list[int]:
    """Distinct ports that nobody listens on now."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in held]
    for server in held:
        server.close()
    return ports

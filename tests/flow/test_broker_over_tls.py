"""A private broker that others can reach speaks TLS with the key in the trust document; hub and spoke pin it."""

import socket

import pytest

from tests.services.ports import free_ports
from tests.services.requires import requires
from tests.services.whole import Whole
from wire.tls import unverified_client_context

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow]


def test_a_broker_bound_to_every_address_is_reached_over_pinned_tls(tmp_path):
    requires("rabbitmq")
    port = free_ports(1)[0]
    whole = Whole(tmp_path, MANYARM_BROKER_BIND=f"0.0.0.0:{port}", MANYARM_BROKER_PUBLIC=f"127.0.0.1:{port}")
    try:
        whole.install()
        whole.start()
        whole.enrol("web-1", "web")
        whole.start_spoke("web-1")
        assert "web-1 | hello" in whole.manyarm("run", "--to", "web-1", "--", "echo hello")
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            unverified_client_context().wrap_socket(plain) as tls,
        ):
            assert tls.version() == "TLSv1.3"
    finally:
        whole.stop()

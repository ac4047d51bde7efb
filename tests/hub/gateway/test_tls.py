"""The gateway as it runs: gunicorn, TLS 1.3, the pinned key, and the spoke's own client."""

import hashlib
import http.client
import multiprocessing
import os
import signal
import socket
import ssl
import subprocess

import pytest

from hub.certificates import GatewayTls
from hub.gateway.install import install_script
from hub.packages.references import capability_for, refs_for
from hub.serving import listen, serve
from hub.states import Approval
from hub.storage.database import open_database
from hub.storage.models import Spoke
from spokes.agent.gateway import Gateway
from tests.fakes.enrolling import Machine
from tests.fakes.feed import noise, tar_of
from tests.fakes.gateway import gateway_of
from wire.chunks_sealed import open_manifest
from wire.errors import Code, Refused
from wire.tls import client_context


@pytest.fixture
def address(hub):
    listener = listen("127.0.0.1", 0)

    def app():
        # The connection of the parent does not survive a fork.
        open_database(hub.settings.database)
        return gateway_of(hub)

    options = {"listener": listener, "threads": 16, "tls": GatewayTls(lambda: hub.gateway)}
    process = multiprocessing.get_context("fork").Process(target=serve, args=(app,), kwargs=options)
    process.start()
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    os.kill(process.pid, signal.SIGTERM)
    process.join(15)
    listener.close()


def test_a_spoke_enrols_and_fetches_over_pinned_tls(address, hub, enrolling, feed):
    machine = Machine(hub)
    frame = machine.frame(enrolling.code(approve=Approval.AUTO))
    stranger = Gateway(address, timeout_s=20)
    assert stranger.trust(1) == list(hub.trust.frames)
    assert stranger.enrol(frame.frame) == frame.sha256
    assert stranger.enrolled(frame.sha256) is None
    assert enrolling.enrolments.sweep() == 1
    enrolling.rollout.sweep()
    told = machine.opened(stranger.enrolled(frame.sha256), frame)
    assert told.spoke_id == Spoke.get().id

    content = tar_of(data=noise(2_000_000))
    ref = refs_for(hub.engine, feed.push("app.1.0.0.tar", content).id)
    expires = hub.acting().now_ms // 1_000 + 600
    capability = capability_for(hub.engine, told.spoke_id, [ref.manifest_id], expires)
    pinned = Gateway(address, timeout_s=20)
    pinned.pin(hub.trust.document.pins("gateway"))
    sealed = pinned.manifest(ref.manifest_id, capability)
    manifest = open_manifest(bytes.fromhex(ref.manifest_key), ref.manifest_id, sealed, ref.manifest_sha256)
    chunks = dict(pinned.chunks([chunk.id for chunk in manifest.chunks], capability))
    assert set(chunks) == {chunk.id for chunk in manifest.chunks}
    pinned.put_artifact(
        "a" * 32, iter([b"sealed", b"bytes"]), capability_for(hub.engine, told.spoke_id, [], expires, "j")
    )


def test_another_key_is_refused_before_anything_is_said(address):
    connection = http.client.HTTPSConnection(address, context=client_context(["0" * 64]), timeout=20)
    with pytest.raises(Refused) as refused:
        connection.request("GET", "/gateway/v1/box")
    assert refused.value.code is Code.TLS_PIN


def test_tls_1_2_is_refused(address):
    host, port = address.split(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection((host, int(port)), timeout=10) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain)


def test_the_install_script_installs_nothing_that_is_not_the_named_wheel(address, hub, tmp_path):
    wheels, into = hub.home / "wheels", tmp_path / "installed"
    wheels.mkdir()
    (wheels / "manyarm-0.1.0-py3-none-any.whl").write_bytes(b"not the wheel that was named")
    script = tmp_path / "install.sh"
    script.write_bytes(install_script())
    arguments = [
        "--hub",
        address,
        "--wheel",
        "manyarm-0.1.0-py3-none-any.whl",
        "--sha256",
        "0" * 64,
        "--into",
        str(into),
    ]
    ran = subprocess.run(["sh", str(script), *arguments], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 1
    assert hashlib.sha256(b"not the wheel that was named").hexdigest() in ran.stderr
    assert not into.exists()

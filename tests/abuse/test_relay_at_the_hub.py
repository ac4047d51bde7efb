"""Relays as the hub meets them: at the gateway's door, at the broker's fences, in the engine's queues."""

import http.client
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from hub.certificates import GatewayTls
from hub.infrastructure.fleet import Fleet, FleetParts
from hub.infrastructure.spokes import revoke_spoke
from hub.serving import listen, serve
from hub.states import Approval
from hub.storage.database import open_database, write_tx
from hub.storage.hub_keys import TLS_GATEWAY, signing_key
from hub.storage.models import Spoke
from tests.fakes.enrolling import ADDRESS, EnrollingHub, Machine
from tests.fakes.gateway import gateway_of
from tests.fakes.installed_hub import InstalledHub, installed_hub
from tests.fakes.relay_identity import RelayIdentity, ask
from wire.documents import FleetDocument
from wire.errors import Code, Refused
from wire.roles import Role
from wire.tls import client_context, make_certificate, make_client_certificate

HUNG_UP = (OSError, http.client.HTTPException)
WAIT_S = 20


@pytest.fixture
def hub(tmp_path) -> Iterator[InstalledHub]:
    with installed_hub(tmp_path) as installed:
        yield installed


@pytest.fixture
def enrolling(hub) -> EnrollingHub:
    return EnrollingHub(hub)


@pytest.fixture
def address(hub) -> Iterator[str]:
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


@pytest.fixture
def pins(hub) -> tuple[str, ...]:
    return hub.trust.document.pins("gateway")


@pytest.fixture
def relay(enrolling) -> RelayIdentity:
    made = RelayIdentity()
    made.enrol(enrolling)
    return made


@pytest.fixture
def fleet(hub, enrolling) -> Fleet:
    return Fleet(
        FleetParts(
            hub.seals, lambda: signing_key(hub.engine, Role.HUB_COMMAND), hub.hub_id, ADDRESS, lambda: enrolling.now_ms
        )
    )


def answered(relay: RelayIdentity, address: str, pins, **options) -> http.client.HTTPResponse:
    """The gateway looks at the trust document once a second: what has just changed counts soon."""
    end = time.monotonic() + WAIT_S
    while True:
        try:
            return relay.ask(address, pins, **options)
        except HUNG_UP:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def refused_soon(relay: RelayIdentity, address: str, pins, **options) -> None:
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        try:
            if relay.ask(address, pins, **options).status == HTTPStatus.FORBIDDEN:
                return
        except HUNG_UP:
            return
        time.sleep(0.1)
    raise AssertionError("it is answered still")


def code_of(answer: http.client.HTTPResponse) -> str:
    return json.loads(answer.content)["code"]


def test_a_trusted_relay_is_told_whom_to_dial_and_told_again_only_what_is_new(
    hub, enrolling, address, pins, relay, fleet
):
    enrolling.take(Machine(hub, kind="listening").frame(enrolling.code(approve=Approval.AUTO)))
    fleet.sweep()
    told = answered(relay, address, pins)
    assert told.status == HTTPStatus.OK
    keys = hub.trust.directory()
    document = FleetDocument.open(told.content, keys, enrolling.now_ms // 1000, hub.hub_id)
    assert [spoke.address for spoke in document.spokes] == ["web-1.example:10933"]
    again = relay.ask(address, pins, etag=told.headers["ETag"])
    assert (again.status, again.content) == (HTTPStatus.NOT_MODIFIED, b"")
    with write_tx():
        revoke_spoke(hub.acting(), Spoke.get(Spoke.kind == "listening").id)
    fleet.sweep()
    fresh = relay.ask(address, pins, etag=told.headers["ETag"])
    assert FleetDocument.open(fresh.content, keys, enrolling.now_ms // 1000, hub.hub_id).spokes == ()


def test_t055_without_a_certificate_the_fleet_is_nobody_s_business(address, pins, relay, fleet):
    fleet.sweep()
    answer = ask(address, client_context(pins), "/gateway/v1/fleet")
    assert (answer.status, code_of(answer)) == (HTTPStatus.FORBIDDEN, Code.TLS_NOCERT)
    assert ask(address, client_context(pins), "/gateway/v1/box").status == HTTPStatus.OK


def test_t055_an_unknown_certificate_gets_no_answer_at_all(address, pins, relay, fleet):
    fleet.sweep()
    stranger = RelayIdentity()
    for certificate in (
        make_client_certificate(stranger.seed, "relay"),
        make_certificate(stranger.seed, "relay"),
        make_certificate(relay.seed, "relay"),
    ):
        with pytest.raises(HUNG_UP):
            stranger.ask(address, pins, certificate=certificate)
        with pytest.raises(HUNG_UP):
            stranger.ask(address, pins, "/gateway/v1/box", certificate=certificate)
    assert answered(relay, address, pins).status == HTTPStatus.OK


def test_t055_a_certificate_of_another_role_does_not_pass_for_a_relay_s(hub, enrolling, address, pins, relay, fleet):
    """A listening spoke's TLS key, and the gateway's own."""
    fleet.sweep()
    spoke = Machine(hub, kind="listening")
    spoke_tls = RelayIdentity()
    spoke.tls_spki = spoke_tls.spki
    enrolling.take(spoke.frame(enrolling.code(approve=Approval.AUTO)))
    own = RelayIdentity(signing_key(hub.gateway, TLS_GATEWAY).seed)
    for other in (spoke_tls, own):
        with pytest.raises(HUNG_UP):
            other.ask(address, pins)


def test_t055_a_pending_relay_is_told_nothing(enrolling, address, pins, fleet):
    fleet.sweep()
    pending = RelayIdentity()
    pending.enrol(enrolling, Approval.MANUAL)
    with pytest.raises(HUNG_UP):
        pending.ask(address, pins)


def test_t055_a_revoked_relay_is_refused_on_its_open_connection_and_on_new_ones(
    hub, enrolling, address, pins, relay, fleet
):
    fleet.sweep()
    assert answered(relay, address, pins).status == HTTPStatus.OK
    certificate, key = make_client_certificate(relay.seed, "relay")
    context = client_context(pins, certificate=certificate, key=key)
    kept = http.client.HTTPSConnection(address, context=context, timeout=20)
    kept.request("GET", "/gateway/v1/fleet")
    first = kept.getresponse()
    first.read()
    assert first.status == HTTPStatus.OK
    with write_tx():
        revoke_spoke(hub.acting(), relay.spoke.id)
    kept.request("GET", "/gateway/v1/fleet")
    answer = kept.getresponse()
    assert (answer.status, json.loads(answer.read())["code"]) == (HTTPStatus.FORBIDDEN, Code.TLS_PIN)
    refused_soon(relay, address, pins)


def test_t054_a_gateway_with_the_same_name_and_another_key_is_refused_before_a_byte(address, relay):
    certificate, key = make_client_certificate(relay.seed, "relay")
    context = client_context(["0" * 64], certificate=certificate, key=key)
    with pytest.raises(Refused) as refused:
        ask(address, context, "/gateway/v1/fleet")
    assert refused.value.code is Code.TLS_PIN


@pytest.mark.parametrize(("first", "last"), [(-20, -10), (10, 20)], ids=["expired", "not yet valid"])
def test_t061_a_certificate_outside_its_dates_is_refused_and_a_new_one_of_the_same_key_passes(
    address, pins, relay, fleet, first, last
):
    fleet.sweep()
    with pytest.raises(HUNG_UP):
        relay.ask(address, pins, certificate=_dated(relay.seed, first, last))
    assert answered(relay, address, pins, certificate=make_client_certificate(relay.seed, "re-issued")).status == 200


def _dated(seed: bytes, first: int, last: int) -> tuple[bytes, bytes]:
    """As `make_client_certificate` makes one, with other dates: it is issued by the authority that everybody has."""
    honest, key = make_client_certificate(seed, "relay")
    issued = x509.load_pem_x509_certificate(honest)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "relay")]))
        .issuer_name(issued.issuer)
        .public_key(issued.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=first))
        .not_valid_after(now + timedelta(days=last))
    )
    from wire.tls import _authority_key

    return builder.sign(_authority_key(), None).public_bytes(Encoding.PEM), key

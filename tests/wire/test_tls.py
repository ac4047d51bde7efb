"""A pin is compared in the handshake itself: nobody gets a byte before it, in either direction."""

import contextlib
import socket
import ssl
import threading

import pytest
from cryptography import x509

from wire import tls
from wire.errors import Code, Refused
from wire.keys import SigningKey, thumbprint


@pytest.fixture(scope="module")
def broker():
    return tls.make_certificate(b"1" * 32, "broker")


@pytest.fixture(scope="module")
def impostor():
    """The same name, another key."""
    return tls.make_certificate(b"2" * 32, "broker")


class Meeting:
    """One handshake of two contexts over a socket pair; what each side read, or why it failed."""

    def __init__(self, server_context, client_context):
        self.at_server = self.at_client = None
        ours, theirs = socket.socketpair()
        ours.settimeout(10)
        theirs.settimeout(10)
        thread = threading.Thread(target=self._serve, args=(server_context, theirs))
        thread.start()
        try:
            with client_context.wrap_socket(ours, server_hostname="broker") as client:
                client.sendall(b"from client")
                self.at_client = client.recv(100)
        except Exception as error:
            self.at_client = error
            ours.close()
        thread.join(10)

    def _serve(self, context, theirs):
        try:
            with context.wrap_socket(theirs, server_side=True) as server:
                self.at_server = server.recv(100)
                server.sendall(b"from server")
                self.version = server.version()
        except Exception as error:
            self.at_server = error
            theirs.close()


def test_the_pinned_peer_is_spoken_to_by_tls_1_3(broker):
    meeting = Meeting(tls.server_context(*broker), tls.client_context([tls.spki_sha256(broker[0])]))
    assert (meeting.at_server, meeting.at_client, meeting.version) == (b"from client", b"from server", "TLSv1.3")


def test_another_key_under_the_same_name_gets_nothing_and_both_thumbprints_are_said(broker, impostor):
    meeting = Meeting(tls.server_context(*impostor), tls.client_context([tls.spki_sha256(broker[0])]))
    assert isinstance(meeting.at_client, Refused)
    assert meeting.at_client.code == Code.TLS_PIN
    assert str(meeting.at_client).count("SHA256:") == 2
    assert meeting.at_server == b"" or isinstance(meeting.at_server, Exception)


def test_one_of_several_pins_is_enough_for_a_rotation(broker, impostor):
    pins = [tls.spki_sha256(broker[0]), tls.spki_sha256(impostor[0]).upper()]
    for pair in (broker, impostor):
        assert Meeting(tls.server_context(*pair), tls.client_context(pins)).at_client == b"from server"


def test_a_listener_takes_only_the_clients_whose_keys_it_knows(broker):
    known, stranger = tls.make_client_certificate(b"3" * 32, "relay"), tls.make_client_certificate(b"4" * 32, "relay")
    pins = [tls.spki_sha256(broker[0])]

    def meet(pair, server):
        context = tls.client_context(pins, certificate=pair[0], key=pair[1]) if pair else tls.client_context(pins)
        return Meeting(server, context).at_server

    server = tls.server_context(*broker, [tls.spki_sha256(known[0])])
    assert meet(known, server) == b"from client"
    refusal = meet(stranger, server)
    assert isinstance(refusal, Refused)
    assert refusal.code == Code.TLS_PIN
    assert tls.thumbprint_of_digest(bytes.fromhex(tls.spki_sha256(stranger[0]))) in str(refusal)
    assert isinstance(meet(None, server), ssl.SSLError)
    assert isinstance(meet(known, tls.server_context(*broker, [])), Refused)


def test_a_certificate_that_the_same_key_shows_anew_is_taken_without_new_trust(broker):
    pins = [tls.spki_sha256(broker[0])]
    server = tls.server_context(*broker, [tls.spki_sha256(tls.make_client_certificate(b"3" * 32, "relay")[0])])
    again = tls.make_client_certificate(b"3" * 32, "another name")
    client = tls.client_context(pins, certificate=again[0], key=again[1])
    assert Meeting(server, client).at_server == b"from client"


def test_where_a_certificate_is_optional_one_that_is_shown_must_be_known(broker):
    known, stranger = tls.make_client_certificate(b"3" * 32, "relay"), tls.make_client_certificate(b"4" * 32, "relay")
    server = tls.server_context(*broker, [tls.spki_sha256(known[0])], client_optional=True)
    pins = [tls.spki_sha256(broker[0])]
    assert Meeting(server, tls.client_context(pins)).at_server == b"from client"
    for pair, taken in ((known, True), (stranger, False)):
        met = Meeting(server, tls.client_context(pins, certificate=pair[0], key=pair[1])).at_server
        assert (met == b"from client") is taken


def test_a_self_made_client_certificate_is_not_enough_whatever_its_key(broker):
    """It must be issued by the published authority, for OpenSSL would not show it otherwise."""
    own = tls.make_certificate(b"3" * 32, "relay")
    server = tls.server_context(*broker, [tls.spki_sha256(own[0])])
    client = tls.client_context([tls.spki_sha256(broker[0])], certificate=own[0], key=own[1])
    assert isinstance(Meeting(server, client).at_server, ssl.SSLError)


@pytest.mark.parametrize("make", [tls.make_certificate, tls.make_client_certificate])
def test_our_certificates_are_no_authorities(make):
    leaf = x509.load_pem_x509_certificate(make(b"3" * 32, "relay")[0])
    assert leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False


def test_a_certificate_names_the_key_that_vouches_for_it(broker):
    spoke = SigningKey.generate()
    certificate, key = tls.make_certificate(b"5" * 32, "listener", bound_to=spoke)
    assert tls.bound_thumbprint(certificate) == thumbprint(spoke.verify_key.pk)
    server = tls.server_context(certificate, key)
    relay = tls.bound_client_context(*tls.make_client_certificate(b"3" * 32, "relay"))
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    client, listener = relay.wrap_bio(ours, theirs), server.wrap_bio(theirs, ours, server_side=True)
    for _ in range(3):
        for side in (client, listener):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    expected = thumbprint(spoke.verify_key.pk)
    tls.check_bound_peer(client, expected, tls.spki_sha256(certificate))
    for wrong in ((thumbprint(SigningKey.generate().verify_key.pk), ""), (expected, tls.spki_sha256(broker[0]))):
        with pytest.raises(Refused) as caught:
            tls.check_bound_peer(client, *wrong)
        assert caught.value.code == Code.TLS_PIN


def test_a_binding_copied_into_another_certificate_binds_nothing():
    spoke = SigningKey.generate()
    leaf = x509.load_pem_x509_certificate(tls.make_certificate(b"5" * 32, "listener", bound_to=spoke)[0])
    other = x509.load_pem_x509_certificate(tls.make_certificate(b"6" * 32, "listener")[0])
    swapped = leaf.public_bytes(tls.Encoding.DER).replace(
        leaf.public_key().public_bytes_raw(), other.public_key().public_bytes_raw()
    )
    for certificate in (swapped, other.public_bytes(tls.Encoding.DER)):
        with pytest.raises(Refused) as caught:
            tls.bound_thumbprint(certificate)
        assert caught.value.code == Code.TLS_PIN


def test_a_second_connection_cannot_resume_without_the_certificate(broker):
    assert tls.server_context(*broker).num_tickets == 0


@pytest.mark.parametrize("old", [ssl.TLSVersion.TLSv1_2])
def test_an_older_protocol_is_refused(broker, old):
    client = tls.client_context([tls.spki_sha256(broker[0])])
    client.minimum_version = client.maximum_version = old
    assert isinstance(Meeting(tls.server_context(*broker), client).at_client, ssl.SSLError)


def test_memory_buffers_are_pinned_too(broker, impostor):
    """What asyncio uses goes another way through the library."""
    for pair, refused in ((broker, False), (impostor, True)):
        to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = tls.client_context([tls.spki_sha256(broker[0])]).wrap_bio(to_client, to_server)
        server = tls.server_context(*pair).wrap_bio(to_server, to_client, server_side=True)
        seen = None
        for _ in range(4):
            for side in (client, server):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
                except Refused as error:
                    seen = error.code
        assert seen == (Code.TLS_PIN if refused else None)


def test_a_certificate_whose_key_anyone_can_sign_for_is_weak(broker):
    """The identity point as public key, at the place of the real one."""
    leaf = x509.load_pem_x509_certificate(broker[0])
    pk = leaf.public_key().public_bytes_raw()
    der = leaf.public_bytes(tls.Encoding.DER).replace(pk, b"\1" + bytes(31))
    with pytest.raises(Refused) as caught:
        tls.spki_sha256(der)
    assert caught.value.code == Code.KEY_WEAK


def test_a_client_without_pins_is_not_made():
    with pytest.raises(ValueError, match="at least one pin"):
        tls.client_context([])


def test_the_same_seed_makes_the_same_pin():
    assert tls.spki_sha256(tls.make_certificate(b"1" * 32, "a")[0]) == tls.spki_sha256(
        tls.make_certificate(b"1" * 32, "b")[0]
    )

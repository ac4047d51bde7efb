"""Relay and TLS: whoever carries, and whoever knocks, gets nothing that was not meant for it.

The common rule of all: no crash, no trace to the peer, nothing lost, and the next honest job succeeds.
"""

import asyncio
import contextlib
import logging
import os
import random
import shutil
import socket
import ssl
import subprocess
import threading
import time
import warnings
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519

from spokes.agent.home import SpokeHome
from spokes.agent.trust_store import TrustStore
from spokes.relay import broker_connection
from spokes.relayed.front_door import FrontDoor
from tests.fakes.parties import FakeHub
from tests.fakes.relay_world import relay_world
from wire import hop, tls
from wire.envelope import MessageType
from wire.errors import Code, ConnectionLost, Refused
from wire.exchange import open_from_spoke
from wire.keys import SigningKey, thumbprint
from wire.messages import EndState, Reject
from wire.roles import KeyTable, Role, TrustedKey
from wire.websocket import CannotDial, Failure, WebSocket, dial, prepare_loop

pytestmark = pytest.mark.rabbitmq

SPOKE = SigningKey.from_seed(b"s" * 32)
RELAY_SEED = b"r" * 32
RELAY = tls.make_client_certificate(RELAY_SEED, "relay")
RELAY_PIN = tls.spki_sha256(RELAY[0])
STRANGER = tls.make_client_certificate(b"x" * 32, "relay")
WAIT_S = 30.0


@pytest.fixture
def world(broker, tmp_path):
    with relay_world(broker, tmp_path) as world:
        yield world


# A relay that does what it likes with what it carries


class Dishonest:
    """A relay's broker connection that changes what comes down and goes up; `None` withholds and says that it was done."""

    def __init__(self, identity, *, down=lambda body: body, up=lambda message: message):
        self._inner = broker_connection(identity)
        self._down, self._up = down, up

    @property
    def state(self):
        return self._inner.state

    def close(self):
        self._inner.close()

    def publish(self, message):
        changed = self._up(message)
        if changed is None:
            done = Future()
            done.set_result(None)
            return done
        return self._inner.publish(changed)

    def consume(self, queue, **options):
        return DishonestSubscription(self._inner.consume(queue, **options), self._down)


class DishonestSubscription:
    def __init__(self, inner, down):
        self._inner, self._down = inner, down
        self.ack, self.reject, self.close = inner.ack, inner.reject, inner.close

    def take(self, limit, wait_s):
        found = []
        for delivery in self._inner.take(limit, wait_s):
            body = self._down(delivery.body)
            if body is None:
                self._inner.ack([delivery])
            else:
                found.append(replace(delivery, body=body))
        return found


def is_command(body: bytes) -> bool:
    return body[4:6] == int(MessageType.COMMAND).to_bytes(2, "big")


def test_t050_a_byte_flipped_by_the_relay_is_found_and_the_connection_lives_on(world):
    """Wherever it is; the same command sent again, untouched, is run."""
    spoke = world.add_spoke()
    dice, flips = random.Random(50), []

    def flip(body):
        if not is_command(body) or len(flips) >= 12:
            return body
        at = (0, 5, 7, 12, 40, len(body) - 1)[len(flips)] if len(flips) < 6 else dice.randrange(len(body))
        flips.append(at)
        return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]

    with world.listening(spoke) as listening, world.relay(connect=lambda who: Dishonest(who, down=flip)):
        sent = world.end.sealed(spoke.spoke_id, world.job(spoke.spoke_id, "echo once"))
        for _ in range(13):
            world.end.publish(spoke.spoke_id, sent.frame)
        world.wait(lambda: any(world.end.acks.values()), "an ack")
        job = next(iter(world.end.acks))
        assert world.end.result(job).state is EndState.SUCCEEDED
        counts = listening.daemon._quarantine.counts
        assert sum(counts.values()) >= 12
        assert counts.get("ENV_SIG", 0) >= 3
        assert len(world.hints(spoke.spoke_id)) == 1, "the connection was made once and lived"
        assert world.end.whole_log(job).count(b"once") == 1


def test_t051_a_frame_for_b_brought_to_a_is_not_acted_on_and_what_is_withheld_is_never_done(world, tmp_path):
    a, b = world.add_spoke("web-a"), world.add_spoke("web-b")
    witness = tmp_path / "witness"
    withhold = []

    def swap(body):
        return None if withhold and is_command(body) else body

    with (
        world.listening(a) as at_a,
        world.listening(b),
        world.relay(connect=lambda who: Dishonest(who, down=swap)),
    ):
        world.end.wait_live(a.spoke_id)
        for_b = world.end.sealed(b.spoke_id, world.job(b.spoke_id, f"echo b >> {witness}"))
        world.end.publish(a.spoke_id, for_b.frame)
        world.wait(lambda: at_a.daemon._quarantine.counts, "the refusal")
        assert set(at_a.daemon._quarantine.counts) == {"ENV_AUD"}
        withhold.append(True)
        never = world.run(b.spoke_id, f"echo withheld >> {witness}")
        withhold_seen = world.run(a.spoke_id, "true")
        time.sleep(1)
        assert not world.end.results[never.cid]
        assert not world.end.acks[never.cid]
        assert not world.end.acks[withhold_seen.cid]
        withhold.clear()
        assert world.end.result(world.run(b.spoke_id, f"echo honest >> {witness}").cid).state is EndState.SUCCEEDED
    assert witness.read_text() == "honest\n"


def test_t052_a_secret_deployed_through_the_relay_is_nowhere_in_it(world):
    """Not in its home, not in its log, not in the memory of its process, where much else is."""
    spoke = world.add_spoke()
    canary = f"canary-{os.urandom(12).hex()}"
    package = world.gateway.add_package(f"plain {canary} ".encode() * 5_000, "web", "1.0.0", "tar")
    relay = world.relays[0]
    with world.listening(spoke), world.relay_process(relay) as process:
        for _ in range(5):
            sent = world.run(
                spoke.spoke_id,
                'test "${#Password}" -gt 5 && echo the length is ${#Password}; new_artifact big.txt 2>/dev/null || true',
                secrets={"Password": canary},
                job={"expose_env": ["Password"]},
                extra=(package,),
            )
            assert world.end.result(sent.cid).state is EndState.SUCCEEDED
        memory = memory_of(process.pid)
        assert relay.relay_id.encode() in memory, "its memory was read"
        assert canary.encode() not in memory
    for path in relay.root.rglob("*"):
        if path.is_file():
            assert canary.encode() not in path.read_bytes(), path


def memory_of(pid: int) -> bytes:
    """All that a core file would hold."""
    parts = []
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            place, rights, *_ = line.split()
            if not rights.startswith("rw"):
                continue
            start, end = (int(part, 16) for part in place.split("-"))
            with contextlib.suppress(OSError, ValueError, OverflowError):
                memory.seek(start)
                parts.append(memory.read(end - start) or b"")
    return b"".join(parts)


def test_t053_a_relay_signs_neither_commands_nor_results(world):
    """Its keys are of no role: nobody looks them up."""
    spoke = world.add_spoke()
    own = SigningKey.generate()
    with world.listening(spoke) as listening, world.relay():
        world.end.wait_live(spoke.spoke_id)
        forged = world.end.sealed(spoke.spoke_id, world.job(spoke.spoke_id), signer=own)
        world.end.publish(spoke.spoke_id, forged.frame)
        world.wait(lambda: listening.daemon._quarantine.counts, "the refusal")
        assert set(listening.daemon._quarantine.counts) == {"ENV_KEY"}
        sent = world.run(spoke.spoke_id)
        world.end.result(sent.cid)
    honest = world.end.answers[sent.cid][-1]
    assert honest.signer.owner == spoke.spoke_id
    fake = FakeHub(hub_id=world.hub.hub_id, command=world.hub.command, root=world.hub.root, box=world.hub.box)
    liar = fake.new_spoke()
    fake.open_session(liar)
    result = liar.session.seal(MessageType.REJECT, Reject("0" * 32, "ENV_SIG", ""), liar.mono)
    directory = KeyTable([TrustedKey(spoke.keys.signing.verify_key, Role.SPOKE_SIGN, spoke.spoke_id)])
    with pytest.raises(Refused) as caught:
        open_from_spoke(result.frame, directory, [world.hub.box], world.hub.hub_id, fake.now)
    assert caught.value.code == Code.ENV_KEY


def test_t063_delivered_is_what_the_spoke_has_signed_and_not_what_the_relay_says(world, tmp_path):
    """The relay throws a result away and says that the broker has it: asked again, the spoke answers from its journal."""
    spoke = world.add_spoke()
    witness, dropped = tmp_path / "witness", []

    def drop_first_result(message):
        if hop.upward_kind(message.body) == "result" and not dropped:
            dropped.append(message)
            return None
        return message

    def up(message):
        return message if message.body.startswith(b"{") else drop_first_result(message)

    with world.listening(spoke), world.relay(connect=lambda who: Dishonest(who, up=up)):
        job = world.job(spoke.spoke_id, f"echo ran >> {witness}")
        sent = world.end.command(spoke.spoke_id, job)
        world.wait(lambda: dropped, "the result that was thrown away")
        assert not world.end.results[sent.cid]
        for _ in range(20):
            # As the hub does until it has an answer that was signed.
            world.end.command(spoke.spoke_id, job)
            with contextlib.suppress(AssertionError):
                world.end.result(sent.cid, 2)
                break
        assert world.end.result(sent.cid).state is EndState.SUCCEEDED
    assert witness.read_text() == "ran\n"


# Who is at the other end


def test_t054_another_key_under_the_same_name_gets_no_byte_of_payload(world):
    spoke = world.add_spoke()
    impostor = tls.make_certificate(b"i" * 32, "spoke", bound_to=SigningKey.generate())
    copied = tls.make_certificate(b"j" * 32, "spoke")
    for pair in (impostor, copied):
        with Knocked(world.fleet[spoke.spoke_id].address, pair) as knocked, world.relay():
            before = len(world.hints(spoke.spoke_id))
            world.wait(lambda before=before: len(world.hints(spoke.spoke_id)) > before, "a hint")
            assert world.hints(spoke.spoke_id)[-1]["reason"] == "thumbprint-differs"
            assert knocked.heard == b""
    with world.listening(spoke), world.relay():
        assert world.end.result(world.run(spoke.spoke_id).cid).state is EndState.SUCCEEDED


def test_t082_one_wrong_letter_of_a_thumbprint_and_nothing_is_sent(world):
    spoke = world.add_spoke()
    right = world.fleet[spoke.spoke_id]
    letters = right.thumbprint
    wrong = letters[:9] + ("a" if letters[9] != "a" else "b") + letters[10:]
    world.introduce(spoke.spoke_id, right.address, wrong)
    with world.listening(spoke) as listening, world.relay():
        world.wait(lambda: world.hints(spoke.spoke_id), "a hint")
        hint = world.hints(spoke.spoke_id)[0]
        assert hint["reason"] == "thumbprint-differs"
        assert wrong in hint["detail"]
        assert right.thumbprint in hint["detail"]
        assert listening._mail.state == "waiting for a relay"
        world.introduce(spoke.spoke_id, right.address, right.thumbprint)
        assert world.end.result(world.run(spoke.spoke_id).cid).state is EndState.SUCCEEDED


def test_t062_a_listener_that_refuses_our_certificate_after_the_handshake_is_never_online(world):
    """TLS 1.3: the dialler's side of the handshake is done before the listener has judged it."""
    spoke = world.add_spoke()
    other = world.add_relay()
    world.pin_relays(other)
    TrustStore(SpokeHome(spoke.root)).save(world.hub.chain)
    with world.listening(spoke) as listening, world.relay(world.relays[0]) as running:
        world.wait(lambda: world.hints(spoke.spoke_id), "a hint")
        assert {hint["reason"] for hint in world.hints(spoke.spoke_id)} == {"refused-by-peer"}
        assert not any(link.is_up for link, _ in running.relay._links.values())
        assert listening.door.refused["TLS_PIN"] >= 1


class Knocked:
    """A TLS server at that address that asks for no certificate; `heard` is what came after the handshake."""

    def __init__(self, address, pair):
        host, _, port = address.rpartition(":")
        self.heard = b""
        self._context = tls.server_context(*pair)
        self._socket = socket.create_server((host, int(port)))
        self._socket.settimeout(0.1)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join(10)
        self._socket.close()

    def _serve(self):
        while not self._over.is_set():
            with contextlib.suppress(OSError):
                accepted, _ = self._socket.accept()
                accepted.settimeout(2)
                with contextlib.suppress(OSError), self._context.wrap_socket(accepted, server_side=True) as peer:
                    while piece := peer.recv(1000):
                        self.heard += piece


# Who knocks


class House:
    """A spoke's front door that counts what is said behind it."""

    def __init__(self, pins=(RELAY_PIN,), clock=time.monotonic):
        self.opened = 0
        pair = tls.make_certificate(b"l" * 32, "spoke", bound_to=SPOKE)
        self.door = FrontDoor("127.0.0.1:0", *pair, pins=pins, clock=clock)

    async def _echo(self, websocket: WebSocket):
        self.opened += 1
        while True:
            await websocket.send(await websocket.receive())

    async def _nothing(self, _websocket: WebSocket):
        self.opened += 1

    def __enter__(self):
        self.door.open(mail=self._echo, trust=self._nothing)
        host, _, port = self.door.address.rpartition(":")
        self.address = host, int(port)
        return self

    def __exit__(self, *_):
        self.door.close()

    def dial(self, pair=RELAY, context=None):
        """Whether an honest word is answered."""

        async def knock():
            prepare_loop(asyncio.get_running_loop())
            chosen = context or tls.bound_client_context(*pair)
            expected = thumbprint(SPOKE.verify_key.pk)
            opened = await dial(
                self.address, hop.MAIL_PATH, tls=chosen, check=lambda peer: tls.check_bound_peer(peer, expected)
            )
            await opened.send(b"honest")
            answer = await opened.receive()
            await opened.close()
            return answer == b"honest"

        return asyncio.run(knock())

    def refusal(self, pair=RELAY, context=None):
        with pytest.raises((CannotDial, ConnectionLost)) as caught:
            self.dial(pair, context)
        return caught.value

    def wait(self, word, count=1):
        deadline = time.monotonic() + WAIT_S
        while self.door.refused[word] < count:
            assert time.monotonic() < deadline, dict(self.door.refused)
            time.sleep(0.01)


def test_t055_no_certificate_an_unknown_one_or_one_of_another_role_is_refused_by_the_peer():
    gateway = tls.make_client_certificate(b"g" * 32, "gateway")
    with House() as house:
        for pair, context, word in (
            (None, tls.unverified_client_context(), "TLS_NOCERT"),
            (STRANGER, None, "TLS_PIN"),
            (tls.make_certificate(RELAY_SEED, "relay"), None, "TLS_PIN"),
            (gateway, None, "TLS_PIN"),
        ):
            before = house.door.refused[word]
            assert house.refusal(pair, context).failure is Failure.REFUSED
            house.wait(word, before + 1)
        assert house.opened == 0
        assert house.dial()


def test_t058_older_protocols_and_other_secrets_are_refused():
    """No TLS 1.2 or 1.1, no shared secrets; compression and renegotiation are not in 1.3 at all."""
    with House() as house:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_1):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_ciphers("ALL:@SECLEVEL=0")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                context.minimum_version = context.maximum_version = version
            with socket.create_connection(house.address) as plain, pytest.raises(OSError, match=r".*"):
                context.wrap_socket(plain)
        house.wait("TLS_VERSION", 2)
        openssl = shutil.which("openssl")
        if openssl:
            place = f"{house.address[0]}:{house.address[1]}"
            shared = subprocess.run(
                [openssl, "s_client", "-connect", place, "-psk", "aa" * 16, "-psk_identity", "me", "-tls1_3"],
                input=b"GET / HTTP/1.1\r\n\r\n",
                capture_output=True,
                timeout=WAIT_S,
                check=False,
            )
            assert b"HTTP/1.1 101" not in shared.stdout
        assert house.opened == 0
        assert house.dial()


def test_t059_five_hundred_that_say_nothing_or_a_byte_a_minute_keep_no_honest_peer_out():
    with House() as house:
        held = []
        for number in range(500):
            one = socket.socket()
            one.bind((f"127.0.{1 + number // 250}.{1 + number % 250}", 0))
            one.connect(house.address)
            if number % 2:
                one.sendall(b"\x16")
            held.append(one)
        house.wait("crowded", 400)
        assert house.door._listener.count <= 64
        assert house.dial()
        same = [socket.create_connection(house.address) for _ in range(20)]
        house.wait("crowded", 400 + 10)
        assert house.dial()
        for one in held + same:
            one.close()


@pytest.mark.parametrize(
    "junk", [b"GET / HTTP/1.1\r\nHost: spoke\r\n\r\n", b"SSH-2.0-OpenSSH_9.6\r\n", bytes(1_000_000)]
)
def test_t060_what_is_no_tls_is_closed_without_a_word_and_counted(junk):
    with House() as house:
        with socket.create_connection(house.address) as plain:
            plain.settimeout(WAIT_S)
            heard = b""
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                plain.sendall(junk)
                heard = plain.recv(100)
            assert heard == b""
        deadline = time.monotonic() + WAIT_S
        while not house.door.refused:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert sum(house.door.refused.values()) == 1
        assert house.opened == 0
        assert house.dial()


def test_t061_a_certificate_out_of_its_time_is_named_so_and_a_new_one_of_the_same_key_needs_no_new_trust(caplog):
    caplog.set_level(logging.WARNING)
    now = datetime.now(UTC)
    with House() as house:
        for since, until in (
            (now - timedelta(days=20), now - timedelta(days=10)),
            (now + timedelta(days=10), now + timedelta(days=20)),
        ):
            assert house.refusal(dated(since, until)).failure is Failure.REFUSED
        house.wait("TLS_PIN", 2)
        said = " ".join(record.why for record in caplog.records if hasattr(record, "why"))
        assert "certificate has expired" in said
        assert "certificate is not yet valid" in said
        assert house.opened == 0
        assert house.dial(tls.make_client_certificate(RELAY_SEED, "relay, issued again"))


def dated(since, until):
    """The relay's own key in a certificate of another time."""
    key = ed25519.Ed25519PrivateKey.from_private_bytes(RELAY_SEED)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(tls._named("relay"))
        .issuer_name(tls._AUTHORITY_NAME)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(since)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(tls._authority_key(), None)
    )
    return certificate.public_bytes(tls.Encoding.PEM), RELAY[1]


def test_t083_a_stranger_with_a_hub_of_its_own_is_named_once_an_hour_and_never_heard(caplog):
    caplog.set_level(logging.WARNING)
    hour = [0.0]
    with House(clock=lambda: hour[0]) as house:
        for _ in range(3):
            assert house.refusal(STRANGER).failure is Failure.REFUSED
        house.wait("TLS_PIN", 3)
        named = tls.thumbprint_of_digest(bytes.fromhex(tls.spki_sha256(STRANGER[0])))
        assert sum(named in getattr(record, "why", "") for record in caplog.records) == 1
        hour[0] = 3601
        house.refusal(STRANGER)
        house.wait("TLS_PIN", 4)
        assert sum(named in getattr(record, "why", "") for record in caplog.records) == 2
        assert house.opened == 0
        assert house.dial()

"""A listening spoke's own end of the hop, and its command line; a relay of straw dials in."""

import asyncio
import itertools
import socket
import threading
import time
from concurrent.futures import Future

import pytest

from spokes.__main__ import main
from spokes.relayed.front_door import FrontDoor
from spokes.relayed.mail import CONNECTED, RelayedConnection
from spokes.relayed.told_trust import told_trust
from spokes.relaying.hints import Hints
from spokes.relaying.link import SpokeLink, Surroundings
from spokes.relaying.room import Room
from tests.services.ports import free_ports
from wire import hop, tls
from wire.connection import Outgoing
from wire.documents import FleetSpoke
from wire.errors import ConnectionLost, Nacked
from wire.join_code import JoinCode
from wire.keys import SigningKey
from wire.websocket import dial, prepare_loop

RELAY = tls.make_client_certificate(b"r" * 32, "relay")
SPOKE_ID = "0b" * 16
WAIT_S = 20


@pytest.fixture
def spoke():
    pair = tls.make_certificate(b"l" * 32, "spoke", bound_to=SigningKey.from_seed(b"s" * 32))
    door = FrontDoor("127.0.0.1:0", *pair, pins=[tls.spki_sha256(RELAY[0])])
    connection = RelayedConnection(SPOKE_ID, door.loop, publish_timeout_s=WAIT_S)
    door.open(mail=connection.attend)
    connection.address = "127.0.0.1", int(door.address.rpartition(":")[2])
    yield connection
    connection.close()
    door.close()


def relay(spoke, story):
    """Dial in, read the greeting, and do as the story says."""

    async def told():
        prepare_loop(asyncio.get_running_loop())
        context = tls.bound_client_context(*RELAY)
        opened = await dial(spoke.address, hop.MAIL_PATH, tls=context, check=lambda _peer: None)
        greeting = hop.read(await opened.receive())
        assert greeting == hop.Greeting(SPOKE_ID, "mail", 0)
        try:
            return await asyncio.wait_for(story(opened), WAIT_S)
        finally:
            opened.abort()

    return asyncio.run(told())


def test_a_frame_is_confirmed_when_the_relay_says_that_the_broker_has_it(spoke):
    sent = spoke.publish(Outgoing("events", "any", b"MAE1 a frame"))

    async def story(opened):
        assert await opened.receive() == b"MAE1 a frame"
        assert not sent.done()
        await opened.send(hop.write(hop.Taken((1,))))
        await asyncio.wait_for(asyncio.wrap_future(sent), WAIT_S)

    relay(spoke, story)


def test_what_the_broker_did_not_take_is_said_so_to_its_sender(spoke):
    sent = spoke.publish(Outgoing("events", "any", b"MAE1"))

    async def story(opened):
        await opened.receive()
        await opened.send(hop.write(hop.Returned(1, "a queue is full")))
        with pytest.raises(Nacked, match="a queue is full"):
            await asyncio.wrap_future(sent)

    relay(spoke, story)


def test_what_a_relay_has_not_answered_goes_to_the_next_one_before_anything_newer(spoke):
    sent = [spoke.publish(Outgoing("events", "any", b"MAE1 %d" % number)) for number in range(3)]

    async def silent(opened):
        assert [await opened.receive() for _ in range(3)] == [b"MAE1 0", b"MAE1 1", b"MAE1 2"]
        await opened.send(hop.write(hop.Taken((2,))))
        await asyncio.wrap_future(sent[1])

    relay(spoke, silent)
    sent.append(spoke.publish(Outgoing("events", "any", b"MAE1 3")))

    async def honest(opened):
        assert [await opened.receive() for _ in range(3)] == [b"MAE1 0", b"MAE1 2", b"MAE1 3"]
        await opened.send(hop.write(hop.Taken((1, 2, 3))))
        await asyncio.gather(*map(asyncio.wrap_future, sent))

    relay(spoke, honest)


def test_a_relay_hears_that_a_command_is_safe_only_after_it_was_acknowledged(spoke):
    subscription = spoke.consume("", prefetch=1)

    async def story(opened):
        await opened.send(b"first")
        await opened.send(b"second")
        loop = asyncio.get_running_loop()
        taken = []
        while len(taken) < 2:
            taken += await loop.run_in_executor(None, subscription.take, 2, 1.0)
        assert [delivery.body for delivery in taken] == [b"first", b"second"]
        subscription.reject(taken[0], requeue=True)
        subscription.ack(taken[1:])
        words = [hop.read(await opened.receive()) for _ in range(2)]
        assert words == [hop.Returned(1, "it comes again"), hop.Taken((2,))]

    relay(spoke, story)


def test_what_lies_unread_when_a_relay_goes_is_forgotten_for_the_next_one_brings_it(spoke):
    subscription = spoke.consume("", prefetch=1)

    async def story(opened):
        await opened.send(b"unread")
        await asyncio.sleep(0.2)

    relay(spoke, story)
    deadline = time.monotonic() + WAIT_S
    while spoke.state == CONNECTED:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert subscription.take(1, 0.1) == []


def test_the_newest_relay_gets_what_goes_up(spoke):
    async def story(opened):
        async def newer(second):
            await asyncio.get_running_loop().run_in_executor(None, lambda: spoke.publish(Outgoing("", "", b"MAE1")))
            return await second.receive()

        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, lambda: relay(spoke, newer))

    assert relay(spoke, story) == b"MAE1"


def test_bytes_too_large_for_any_broker_are_not_even_kept(spoke):
    with pytest.raises(Nacked):
        spoke.publish(Outgoing("", "", bytes(3 * 1024 * 1024))).result(1)


def test_the_command_line_wants_an_address_that_relays_can_dial(tmp_path, capsys):
    code = join_code()
    for words, said in (
        (["--listen", "0.0.0.0:10933"], "--address HOST:PORT"),
        (["--listen", "nonsense"], "expected host:port"),
        (["--address", "web-1:10933"], "give --listen too"),
    ):
        assert main(["--home", str(tmp_path / "home"), "enrol", code, "--name", "web-1", *words]) != 0
        assert said in capsys.readouterr().err


def join_code() -> str:
    return JoinCode(bytes(32), bytes(8), bytes(16), "127.0.0.1:9").text


def test_without_a_code_and_without_a_root_it_says_both_ways_in(tmp_path, capsys):
    assert main(["--home", str(tmp_path / "home"), "run", "--listen", "127.0.0.1:1"]) == 4
    said = capsys.readouterr().err
    assert "enrol JOIN-CODE" in said
    assert "trust ROOT-THUMBPRINT" in said


def test_an_address_that_is_taken_is_one_sentence(tmp_path, capsys):
    root = tls.thumbprint_of_digest(bytes(32))
    home = str(tmp_path / "home")
    assert main(["--home", home, "trust", root]) == 0
    port = free_ports(1)[0]
    with socket.create_server(("127.0.0.1", port)):
        assert main(["--home", home, "run", "--listen", f"127.0.0.1:{port}"]) == 1
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err


class Straw:
    """A socket whose peer brings what the test says, and reads nothing but the first word."""

    def __init__(self, messages):
        self.peer, self.received, self.heard, self.aborted = "127.0.0.1", 0, 0, False
        self._messages = iter(messages)

    async def receive(self):
        await asyncio.sleep(0)
        if self.aborted:
            raise ConnectionLost("aborted")
        self.received += 1
        return next(self._messages)

    async def send(self, _message):
        self.heard += 1
        if self.heard > 1:
            await asyncio.Event().wait()

    def abort(self):
        self.aborted = True


def test_t055_a_stranger_who_tells_trust_in_empty_pieces_is_cut_off_early():
    stranger = Straw(itertools.repeat(b""))

    async def story():
        with pytest.raises(ConnectionLost, match="more trust documents"):
            await asyncio.wait_for(told_trust(stranger, held=1), WAIT_S)

    asyncio.run(story())
    assert stranger.received < 20_000


def test_a_relay_that_brings_and_never_reads_is_cut_off_before_it_fills_our_memory(spoke):
    subscription = spoke.consume("", prefetch=1)
    brings = Straw(itertools.repeat(b"MAE1"))
    answered = threading.Event()

    def answer():
        while not answered.is_set():
            for delivery in subscription.take(64, 0.1):
                subscription.reject(delivery, requeue=True)

    async def paced():
        """As fast as they are answered."""
        while subscription._buffer:  # noqa: ASYNC110  Another thread empties it.
            await asyncio.sleep(0.001)
        return b"MAE1"

    brings.receive = paced
    answering = threading.Thread(target=answer, daemon=True)
    answering.start()
    try:
        serving = asyncio.run_coroutine_threadsafe(asyncio.wait_for(spoke.attend(brings), WAIT_S), spoke._loop)
        with pytest.raises(ConnectionLost, match="does not read"):
            serving.result(WAIT_S + 1)
    finally:
        answered.set()
        answering.join(WAIT_S)


def test_a_spoke_that_sends_and_never_reads_is_cut_off_before_it_fills_the_relay_s_memory():
    async def story():
        around = Surroundings(
            relay_id="0a" * 16, fleet="default", carrier=None, tls=None, passage=None,
            hints=Hints("0a" * 16, lambda _: Future()), room=Room(), newer_trust=lambda _: (),
        )  # fmt: skip
        link = SpokeLink(FleetSpoke(SPOKE_ID, "web-1:10933", "", ""), around)
        junk = Straw(itertools.repeat(b"junk"))
        junk.heard = 1
        with pytest.raises(ConnectionLost):
            await asyncio.wait_for(link._carry(junk), WAIT_S)
        assert junk.received < 10_000

    asyncio.run(story())

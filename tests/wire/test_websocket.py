"""A socket is open when both have been held against what they must be, and nothing was said before."""

import asyncio
import contextlib
import socket

import pytest

from wire import tls
from wire.errors import Code, ConnectionLost, Refused
from wire.keys import SigningKey, thumbprint
from wire.websocket import CannotDial, Failure, Listener, dial, listening_socket, prepare_loop

SPOKE, OTHER = SigningKey.from_seed(b"s" * 32), SigningKey.from_seed(b"o" * 32)
RELAY = tls.make_client_certificate(b"r" * 32, "relay")
STRANGER = tls.make_client_certificate(b"x" * 32, "relay")
HERS = tls.make_certificate(b"l" * 32, "spoke", bound_to=SPOKE)


def expect(key=SPOKE):
    return lambda peer: tls.check_bound_peer(peer, thumbprint(key.verify_key.pk))


class Meeting:
    """A listener on this machine that echoes; what it heard and whom it refused."""

    def __init__(self, **limits):
        self.heard, self.refused, self.opened = [], [], 0
        pins = [tls.spki_sha256(RELAY[0])]
        self.listener = Listener(
            tls.server_context(*HERS, pins),
            self._echo,
            paths=frozenset({"/mail"}),
            refused=lambda word, sentence: self.refused.append((word, sentence)),
            **limits,
        )

    async def _echo(self, websocket):
        self.opened += 1
        while True:
            message = await websocket.receive()
            self.heard.append(message)
            await websocket.send(message)

    async def __aenter__(self):
        prepare_loop(asyncio.get_running_loop())
        plain = listening_socket(("127.0.0.1", 0))
        self.address = plain.getsockname()
        self.listener.start(plain)
        return self

    async def __aexit__(self, *_):
        await self.listener.close()

    async def dial(self, certificate=RELAY, key=SPOKE, **changes):
        context = tls.bound_client_context(*certificate) if certificate else tls.unverified_client_context()
        return await dial(self.address, "/mail", tls=context, check=expect(key), **changes)

    async def until(self, holds):
        async with asyncio.timeout(20):
            while not holds():  # noqa: ASYNC110  What is waited for is told to nobody.
                await asyncio.sleep(0.01)


def run(story, **limits):
    async def told():
        async with Meeting(**limits) as meeting:
            await story(meeting)

    asyncio.run(told())


async def failure(awaitable):
    with pytest.raises((CannotDial, Refused)) as caught:
        await awaitable
    return caught.value


def test_whole_messages_go_both_ways_binary_and_text():
    async def story(meeting):
        opened = await meeting.dial()
        for message in (b"\0\1", "words", b"z" * (1 << 20)):
            await opened.send(message)
            assert await opened.receive() == message
        await opened.close()
        with pytest.raises(ConnectionLost):
            await opened.send(b"more")

    run(story)


def test_another_thumbprint_than_the_one_expected_is_told_nothing():
    async def story(meeting):
        refusal = await failure(meeting.dial(key=OTHER))
        assert refusal.code == Code.TLS_PIN
        assert str(refusal).count("SHA256:") == 2
        await meeting.until(lambda: meeting.refused)
        assert (meeting.opened, meeting.heard) == (0, [])

    run(story)


@pytest.mark.parametrize("certificate", [STRANGER, HERS, None])
def test_who_is_not_known_to_the_listener_is_never_open(certificate):
    async def story(meeting):
        found = await failure(meeting.dial(certificate))
        assert found.failure is Failure.REFUSED
        await meeting.until(lambda: meeting.refused)
        assert meeting.opened == 0

    run(story)


def test_a_stranger_with_a_certificate_of_ours_is_named_by_its_thumbprint():
    async def story(meeting):
        await failure(meeting.dial(STRANGER))
        await meeting.until(lambda: meeting.refused)
        word, sentence = meeting.refused[0]
        assert word == Code.TLS_PIN
        assert tls.thumbprint_of_digest(bytes.fromhex(tls.spki_sha256(STRANGER[0]))) in sentence

    run(story)


def test_a_closed_port_and_a_port_of_something_else_are_told_apart():
    async def story(_meeting):
        free = listening_socket(("127.0.0.1", 0))
        place = free.getsockname()
        free.close()
        context = tls.bound_client_context(*RELAY)
        assert (await failure(dial(place, "/mail", tls=context, check=expect()))).failure is Failure.PORT

        async def banner(_reader, writer):
            writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(banner, "127.0.0.1", 0)
        place = server.sockets[0].getsockname()
        assert (await failure(dial(place, "/mail", tls=context, check=expect()))).failure is Failure.NOT_TLS
        server.close()

    run(story)


def test_a_path_that_is_not_offered_opens_nothing():
    async def story(meeting):
        context = tls.bound_client_context(*RELAY)
        found = await failure(dial(meeting.address, "/other", tls=context, check=expect()))
        assert found.failure is Failure.NOT_TLS
        assert meeting.opened == 0

    run(story)


def test_when_trust_changes_the_next_is_refused_and_those_who_lost_it_are_closed():
    async def story(meeting):
        opened = await meeting.dial()
        await opened.send(b"1")
        assert await opened.receive() == b"1"
        pins = [tls.spki_sha256(STRANGER[0])]

        def still(peer):
            with contextlib.suppress(Refused):
                tls.check_peer(peer, pins)
                return True
            return False

        meeting.listener.retrust(tls.server_context(*HERS, pins), still)
        with pytest.raises(ConnectionLost):
            await opened.receive()
        assert (await failure(meeting.dial())).failure is Failure.REFUSED
        welcome = await meeting.dial(STRANGER)
        await welcome.send(b"2")
        assert await welcome.receive() == b"2"

    run(story)


def test_the_oldest_that_said_nothing_makes_room_and_whoever_is_known_stays():
    async def story(meeting):
        first = await meeting.dial()
        silent = [socket.create_connection(meeting.address) for _ in range(6)]
        await meeting.until(lambda: sum(word == "crowded" for word, _ in meeting.refused) >= 4)
        assert meeting.listener.count <= 3
        second = await meeting.dial()
        for opened in (first, second):
            await opened.send(b"here")
            assert await opened.receive() == b"here"
        third = await meeting.dial()
        await third.send(b"x")
        assert await third.receive() == b"x"
        # All three are known now: the newcomer goes.
        assert (await failure(meeting.dial())).failure in {Failure.REFUSED, Failure.NOT_TLS}
        for one in silent:
            one.close()

    run(story, most_each=3)


class Proxy:
    """Answers CONNECT, as it is told to."""

    def __init__(self, answer=b"HTTP/1.1 200 Connection established\r\n\r\n"):
        self.answer, self.asked = answer, b""

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = self.server.sockets[0].getsockname()
        return self

    async def __aexit__(self, *_):
        self.server.close()

    async def _serve(self, reader, writer):
        self.asked = await reader.readuntil(b"\r\n\r\n")
        writer.write(self.answer)
        if b" 200 " not in self.answer:
            writer.close()
            return
        host, _, port = self.asked.split(b" ")[1].decode().rpartition(":")
        there, here = await asyncio.open_connection(host, int(port))
        await asyncio.gather(self._pump(reader, here), self._pump(there, writer))

    async def _pump(self, source, sink):
        with contextlib.suppress(OSError):
            while piece := await source.read(65536):
                sink.write(piece)
                await sink.drain()
            sink.close()


def test_a_proxy_is_asked_to_connect_and_sees_only_tls():
    async def story(meeting):
        async with Proxy() as proxy:
            opened = await meeting.dial(proxy=proxy.address)
            await opened.send(b"through")
            assert await opened.receive() == b"through"
            assert proxy.asked.startswith(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n" % meeting.address[1])
            opened.abort()

    run(story)


def test_a_proxy_that_says_no_is_named():
    async def story(meeting):
        async with Proxy(b"HTTP/1.1 403 Forbidden\r\n\r\n") as proxy:
            found = await failure(meeting.dial(proxy=proxy.address))
            assert found.failure is Failure.PROXY
            assert "403" in str(found)

    run(story)

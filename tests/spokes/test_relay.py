"""A listening spoke behind its relay is a spoke like any other: real broker, real TLS, real runs."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from spokes.agent.home import SpokeHome
from spokes.agent.identity import IdentityStore
from spokes.agent.stopping import Stopping
from spokes.relayed.introduction import Place, introduce
from tests.fakes.parties import FakeHub
from tests.fakes.relay_world import relay_world
from tests.fakes.spoke_home import EnrolledHome
from tests.services.ports import free_ports
from wire import hop, topology
from wire.chunks_artifact import open_artifact
from wire.envelope import MessageType
from wire.errors import ConnectionLost
from wire.exchange import open_enrol, seal_to_spoke
from wire.keys import BoxPublicKey, hex_bytes, new_id, thumbprint
from wire.messages import BrokerAccess, EndState, Enrolled
from wire.tls import bound_client_context, make_client_certificate, unverified_client_context
from wire.topology import DEFAULT_FLEET
from wire.websocket import dial

pytestmark = pytest.mark.rabbitmq


@pytest.fixture
def world(broker, tmp_path):
    with relay_world(broker, tmp_path) as world:
        yield world


def print_of(home):
    return thumbprint(home.keys.signing.verify_key.pk)


def counting(witness: Path, seconds: int) -> str:
    """A script that says when it starts and ends, and prints a line ten times a second."""
    loop = f"for i in $(seq 1 {seconds * 10}); do echo line $i; sleep 0.1; done"
    return f"echo start >> {witness}; {loop}; echo end >> {witness}"


def test_a_job_goes_to_a_listening_spoke_and_its_log_and_result_come_back(world):
    spoke = world.add_spoke()
    with world.listening(spoke), world.relay():
        sent = world.run(spoke.spoke_id, "echo hello from behind the relay")
        assert world.end.result(sent.cid).state is EndState.SUCCEEDED
        assert b"hello from behind the relay" in world.end.whole_log(sent.cid)
        assert [hint["state"] for hint in world.hints(spoke.spoke_id)][-1:] == ["up"]


def test_packages_come_and_artifacts_go_through_the_relay_as_ciphertext(world):
    spoke = world.add_spoke()
    plain = b"plain words that nobody between may read " * 20_000
    package = world.gateway.add_package(plain, "web", "1.0.0", "tar")
    with world.listening(spoke), world.relay():
        sent = world.run(
            spoke.spoke_id, "seq 1 90000 > report.txt; new_artifact report.txt; echo done", extra=(package,)
        )
        result = world.end.result(sent.cid)
        assert result.state is EndState.SUCCEEDED, result.message
        (ref,) = result.artifacts
        sealed = world.gateway.artifacts[ref.artifact]
        assert b"90000" not in sealed
        opened = b"".join(open_artifact(io.BytesIO(sealed), [world.hub.box], ref.artifact))
        assert opened.endswith(b"89999\n90000\n")
    assert (SpokeHome(spoke.root).root / "packages" / f"{package.sha256}.tar").read_bytes() == plain


def test_two_spokes_behind_one_relay_do_not_hear_each_other(world):
    spokes = [world.add_spoke(name) for name in ("web-1", "web-2")]
    with world.listening(spokes[0]), world.listening(spokes[1]), world.relay():
        sent = [world.run(spoke.spoke_id, f"echo I am {spoke.spoke_id}") for spoke in spokes]
        for spoke, one in zip(spokes, sent, strict=True):
            assert f"I am {spoke.spoke_id}".encode() in world.end.whole_log(one.cid)


def test_what_was_sent_while_the_spoke_was_down_comes_when_it_is_back(world, tmp_path):
    spoke = world.add_spoke()
    witness = tmp_path / "witness"
    with world.relay():
        with world.listening(spoke):
            frame = world.end.sealed(spoke.spoke_id, world.job(spoke.spoke_id, f"echo once >> {witness}"))
        world.wait(lambda: world.hints(spoke.spoke_id)[-1]["state"] == "down", "a hint that it is down")
        world.end.publish(spoke.spoke_id, frame.frame)
        with world.listening(spoke) as listening:
            # It came, and is of a session that is over; a new one under the same id runs.
            world.wait(lambda: listening.daemon._quarantine.counts, "the frame that had waited")
            again = world.run(spoke.spoke_id, f"echo twice >> {witness}")
            assert world.end.result(again.cid).state is EndState.SUCCEEDED
    assert witness.read_text() == "twice\n"


def test_a_run_outlives_its_relay_and_another_relay_brings_the_rest(world, tmp_path):
    """One start, a succeeded job, a whole log, and nobody restarted anything by hand."""
    spoke = world.add_spoke()
    witness = tmp_path / "witness"
    first, second = world.relays[0], world.add_relay()
    with world.listening(spoke), world.relay_process(first) as doomed:
        world.end.wait_live(spoke.spoke_id)
        with world.relay_process(second):
            sent = world.run(spoke.spoke_id, counting(witness, 5))
            world.end.wait(lambda: b"line 3\n" in world.end._spool_unlocked(sent.cid), "its first lines")
            doomed.kill()
            result = world.end.result(sent.cid, 200)
            assert result.state is EndState.SUCCEEDED
            lines = world.end.whole_log(sent.cid).decode().splitlines()
            assert [line for line in lines if line.startswith("line ")] == [f"line {i}" for i in range(1, 51)]
    assert witness.read_text() == "start\nend\n"


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_a_relay_that_stands_still_is_found_out_by_both_sides_and_another_takes_over(world):
    """Its sockets stay open and say nothing, as when its machine has lost the network."""
    spoke = world.add_spoke()
    first, second = world.relays[0], world.add_relay()
    with world.listening(spoke), world.relay_process(first) as frozen:
        world.end.wait_live(spoke.spoke_id)
        with world.relay_process(second):
            frozen.send_signal(signal.SIGSTOP)
            try:
                sent = world.run(spoke.spoke_id, "echo carried by the other one")
                assert world.end.result(sent.cid, 90).state is EndState.SUCCEEDED
            finally:
                frozen.send_signal(signal.SIGCONT)


def test_why_a_spoke_is_not_reached_is_told_to_the_hub(world):
    closed, other = world.add_spoke("web-1"), world.add_spoke("web-2")
    world.introduce(other.spoke_id, world.fleet[other.spoke_id].address, print_of(closed))
    with world.listening(other), world.relay():
        for spoke, reason in ((closed, "port-closed"), (other, "thumbprint-differs")):
            world.wait(lambda spoke=spoke: world.hints(spoke.spoke_id), f"a hint of {reason}")
            hint = world.hints(spoke.spoke_id)[0]
            assert (hint["state"], hint["reason"]) == ("down", reason)
        assert print_of(other) in world.hints(other.spoke_id)[0]["detail"]
        status = Path(world.relays[0].root / "run" / "status.json")
        world.wait(lambda: status.exists() and json.loads(status.read_text())["down"], "the status file")
        assert set(json.loads(status.read_text())["down"]) <= {closed.spoke_id, other.spoke_id}


def test_a_spoke_that_leaves_the_list_is_let_go_and_one_that_joins_is_dialled(world):
    first = world.add_spoke("web-1")
    with world.listening(first) as listening, world.relay() as running:
        world.end.wait_live(first.spoke_id)
        second = world.add_spoke("web-2")
        world.fleet.pop(first.spoke_id)
        with world.listening(second):
            world.end.wait_live(second.spoke_id)
            world.wait(lambda: listening._mail.state != "connected", "the first to be let go")
            assert set(running.relay._links) == {second.spoke_id}


def test_a_relay_that_loses_its_pin_is_shown_out_and_the_pinned_one_is_let_in(world):
    spoke = world.add_spoke()
    old, new = world.relays[0], world.add_relay()
    with world.listening(spoke) as listening, world.relay(old):
        world.end.wait_live(spoke.spoke_id)
        world.wait(lambda: listening._mail.state == "connected", "the old relay")
        world.pin_relays(new)
        listening.daemon._trust.catch_up(listening.daemon.uplink)
        assert listening.daemon.uplink.trust.document.pins("relay") == (new.pin,)
        world.wait(lambda: listening.door.refused["TLS_PIN"] > 0, "the old one to be refused")
    with world.listening(spoke), world.relay(new):
        assert world.end.result(world.run(spoke.spoke_id).cid).state is EndState.SUCCEEDED


def test_a_spoke_whose_only_relay_was_replaced_learns_of_the_next_one_from_it(world):
    """It has taken the document that removed the old relay, and nobody else can tell it of the new one."""
    spoke = world.add_spoke()
    with world.listening(spoke) as listening:
        with world.relay(world.relays[0]):
            world.end.wait_live(spoke.spoke_id)
            world.pin_relays()
            listening.daemon._trust.catch_up(listening.daemon.uplink)
            assert listening.daemon.uplink.trust.document.pins("relay") == ()
        new = world.add_relay()
        world.pin_relays(new)
        with world.relay(new):
            assert world.end.result(world.run(spoke.spoke_id).cid, 60).state is EndState.SUCCEEDED
        assert listening.daemon.uplink.trust.document.pins("relay") == (new.pin,)


def test_trust_of_another_hub_is_not_taken_from_whoever_brings_it(world):
    spoke = world.add_spoke()
    other = FakeHub()

    async def offer(listening, frames):
        host, _, port = listening.address.rpartition(":")
        context = unverified_client_context()
        opened = await dial((host, int(port)), hop.TRUST_PATH, tls=context, check=lambda _peer: None)
        greeting = hop.read(await opened.receive())
        assert (greeting.spoke, greeting.wants, greeting.trust) == ("", "trust", world.hub.chain.version)
        for frame in frames:
            await opened.send(frame)
        await opened.send(hop.write(hop.End(0)))
        with pytest.raises(ConnectionLost):
            await drained(opened)

    with world.listening(spoke) as listening:
        for frames in (other.chain.frames, [b"junk"], world.hub.chain.frames):
            before = listening.door.refused["trust"]
            asyncio.run(offer(listening, frames))
            assert listening.door.refused["trust"] == before + 1
        assert listening.daemon.uplink.trust.version == world.hub.chain.version
        with world.relay():
            assert world.end.result(world.run(spoke.spoke_id).cid).state is EndState.SUCCEEDED


def test_a_proxy_stands_between_relay_and_spoke(world):
    spoke = world.add_spoke()
    asked = []
    with connect_proxy(asked) as address, world.listening(spoke), world.relay(dial_proxy=address):
        assert world.end.result(world.run(spoke.spoke_id).cid).state is EndState.SUCCEEDED
    assert set(asked) == {world.fleet[spoke.spoke_id].address}


class connect_proxy:  # noqa: N801  Reads as what it is: a context.
    """Answers CONNECT on a thread of its own."""

    def __init__(self, asked):
        self.asked = asked

    def __enter__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        started = asyncio.run_coroutine_threadsafe(asyncio.start_server(self.serve, "127.0.0.1", 0), self.loop)
        self.server = started.result(10)
        return f"127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    async def serve(self, reader, writer):
        place = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
        self.asked.append(place)
        host, _, port = place.rpartition(":")
        there, here = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(self.pump(reader, here), self.pump(there, writer), return_exceptions=True)

    async def pump(self, source, sink):
        while piece := await source.read(65536):
            sink.write(piece)
            await sink.drain()
        sink.close()


def test_a_spoke_is_introduced_by_two_thumbprints_and_no_code(world):
    """It knows the hub's root, the hub knows its thumbprint and address; all else comes through the relay."""
    home = SpokeHome(world.folder / "by-hand")
    home.make()
    listen = f"127.0.0.1:{free_ports(1)[0]}"
    place = Place(home, listen, world.hub.root_sha256, "web-9", 10)
    stopping, made, said = Stopping(), [], []
    waiting = threading.Thread(target=lambda: made.append(introduce(place, stopping, say=said.append)), daemon=True)
    waiting.start()
    world.wait(lambda: said, "its thumbprint")
    shown = said[0].rpartition(" ")[2]
    spoke_id = new_id()
    world.broker.admin.ensure_tenant(topology.listening_tenant(spoke_id, DEFAULT_FLEET), "")
    world.introduce(spoke_id, listen, shown)
    with world.relay():
        world.wait(lambda: world.end.enrolments, "its enrolment")
        about, frame = world.end.enrolments[0]
        assert about == spoke_id
        enrol = open_enrol(frame, [world.hub.box], world.hub.hub_id)
        assert enrol.body.is_introduced
        assert thumbprint(hex_bytes(enrol.header.sign_pk, 32)) == shown
        answer = seal_to_spoke(
            MessageType.ENROLLED,
            Enrolled(
                spoke_id=spoke_id,
                enrol_sha256=enrol.frame_sha256,
                trust_version=1,
                broker=BrokerAccess("", "", "", "", ""),
                gateway=world.gateway.address,
                hub_id=world.hub.hub_id,
            ),
            signer=world.hub.command,
            spoke_box=BoxPublicKey.of(hex_bytes(enrol.body.box_pk, 32)),
            hub_id=world.hub.hub_id,
            spoke_id=spoke_id,
            ses="",
            seq=0,
            epoch=1,
            now_s=world.end.now,
        )
        world.end.publish(spoke_id, answer.frame)
        waiting.join(60)
        assert made
        assert (made[0].spoke_id, made[0].kind, made[0].listen) == (spoke_id, "listening", listen)
        keys = IdentityStore(home).keys()
        world.end.know(spoke_id, keys.signing.verify_key, keys.box.public)
        with world.listening(EnrolledHome(home.root, spoke_id, keys)):
            assert world.end.result(world.run(spoke_id, "echo introduced").cid).state is EndState.SUCCEEDED


def test_only_what_a_spoke_needs_is_passed_on_to_the_gateway(world):
    """A spoke may not use its relay to reach whatever else the gateway has."""
    spoke = world.add_spoke()
    with world.listening(spoke) as listening, world.relay():
        world.end.wait_live(spoke.spoke_id)
        gateway = listening._gateway
        assert gateway.box() == world.hub.box_frame()
        for method, path in (
            ("GET", "/fleet"),
            ("GET", "/trust?from=1&x=/../"),
            ("GET", "/manifests/../fleet"),
            ("POST", "/enrol"),
            ("PUT", "/artifacts/../../x"),
        ):
            with pytest.raises(Exception, match="relay"), gateway._answer(method, path, body=b"x"):
                pass
        assert gateway.trust(1) == list(world.hub.chain.frames)
        assert not any("fleet" in line and "manifests" in line for line in world.gateway.log)


def test_the_program_of_a_relay_has_loaded_nothing_that_opens_an_envelope():
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, spokes.relay; print('\\n'.join(sorted(sys.modules)))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert "spokes.relay" in loaded
    for name in ("wire.envelope", "wire.exchange", "wire.session", "wire.messages", "wire.chunks_sealed"):
        assert name not in loaded


def test_a_relay_forgets_the_box_key_that_opened_its_enrolment(world):
    path = SpokeHome(world.relays[0].root).identity / "box.key"
    path.write_bytes(os.urandom(32))
    path.chmod(0o600)
    with world.relay():
        assert not path.exists()


async def drained(opened):
    while True:
        await opened.receive()


def test_two_words_of_a_relay_that_make_no_sense_end_its_connection_and_nothing_else(world):
    spoke = world.add_spoke()

    async def rogue(listening):
        relay = SpokeHome(world.relays[0].root)
        seed = (relay.identity / "tls.key").read_bytes()
        host, _, port = listening.address.rpartition(":")
        context = bound_client_context(*make_client_certificate(seed, "relay"))
        opened = await dial((host, int(port)), hop.MAIL_PATH, tls=context, check=lambda _peer: None)
        await opened.receive()
        await opened.send('{"taken":{"numbers":[0]}}')
        # What the spoke had to say may still be on its way; then comes the end.
        with pytest.raises(ConnectionLost):
            await drained(opened)

    with world.listening(spoke) as listening:
        asyncio.run(rogue(listening))
        with world.relay():
            assert world.end.result(world.run(spoke.spoke_id).cid).state is EndState.SUCCEEDED

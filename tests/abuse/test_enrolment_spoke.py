"""The spoke's halves: impostors at enrolment, trust withheld, and chunks that are not what the sealed job named."""

import hashlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from config.limits import SpokeLimits
from spokes.agent.enrolment import Enroller, Wish
from spokes.agent.errors import JoinRefused, RootDiffers
from spokes.agent.gateway import Gateway
from spokes.agent.home import SpokeHome
from spokes.agent.package_cache import PackageCache
from spokes.agent.supervisors import Supervisors
from spokes.agent.this_machine import ThisMachine
from tests.fakes.parties import DAY, FakeHub
from tests.fakes.spoke_gateway import FakeGateway
from tests.fakes.spoke_world import spoke_world
from wire.chunks_sealed import write_chunk_stream
from wire.errors import Code, Refused
from wire.join_code import JoinCode
from wire.keys import new_id, thumbprint_of_digest


@pytest.fixture
def world(tmp_path):
    with spoke_world(tmp_path) as world:
        yield world


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


@pytest.fixture
def gateway(hub):
    with FakeGateway(hub) as gateway:
        yield gateway.pinned()


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


# Enrolment


def test_t065_an_interceptor_with_its_own_root_never_sees_the_token_and_leaves_nothing(tmp_path):
    ours, theirs = FakeHub(), FakeHub()
    with FakeGateway(theirs) as impostor:
        code = JoinCode(ours.root_sha256, secrets.token_bytes(8), secrets.token_bytes(16), impostor.address)
        home = SpokeHome(tmp_path / "spoke")
        home.make()
        enroller = Enroller(home, Gateway(code.address, timeout_s=5), say=lambda _: None)
        with pytest.raises(RootDiffers) as refused:
            enroller.enrol(code, Wish("web-1"), gateway=code.address, wait_s=1)
        assert thumbprint_of_digest(ours.root_sha256) in str(refused.value)
        assert thumbprint_of_digest(theirs.root_sha256) in str(refused.value)
        assert impostor.log == ["GET /trust?from=1"]
        assert files_in(home.root) == []


def test_t065_a_box_key_that_the_hub_did_not_certify_gets_no_token(tmp_path, hub, gateway):
    gateway.box_frame = FakeHub(hub_id=hub.hub_id).box_frame
    code = JoinCode(hub.root_sha256, secrets.token_bytes(8), secrets.token_bytes(16), gateway.address)
    home = SpokeHome(tmp_path / "spoke")
    home.make()
    with pytest.raises(Refused) as refused:
        Enroller(home, Gateway(code.address, timeout_s=5), say=lambda _: None).enrol(
            code, Wish("web-1"), gateway=code.address, wait_s=1
        )
    assert refused.value.code is Code.ENV_KEY
    assert gateway.enrolments == {}
    assert files_in(home.root) == []


def test_t065_an_answer_that_the_hub_did_not_sign_is_not_believed(tmp_path, hub, gateway):
    gateway.answer_enrolment = lambda frame: frame[:-1] + bytes([frame[-1] ^ 1])
    code = JoinCode(hub.root_sha256, secrets.token_bytes(8), secrets.token_bytes(16), gateway.address)
    home = SpokeHome(tmp_path / "spoke")
    home.make()
    with pytest.raises(Refused):
        Enroller(home, Gateway(code.address, timeout_s=5), say=lambda _: None).enrol(
            code, Wish("web-1"), gateway=code.address, wait_s=1
        )
    assert not (home.identity / "spoke.json").exists()


def test_t065_a_forged_word_of_revocation_changes_nothing_for_a_trusted_spoke(world):
    with world.serving():
        assert world.end.result(world.run().cid).state == "succeeded"
        world.gateway.trust_frames = lambda _: [FakeHub().chain.frames[0]]
        world.end.named_trust_version = world.hub.chain.version + 1
        world.end.spokes[world.home.spoke_id].live = False
    with world.serving() as daemon:
        world.end.wait_live(world.home.spoke_id)
        world.end.wait(lambda: bool(daemon._trust.behind), "the refusal")
        assert world.end.result(world.run().cid).state == "succeeded"
    assert (world.home.root / "identity" / "spoke.json").exists()


def test_t065_a_refusal_at_the_gateway_is_told_and_leaves_the_home_as_it_was(tmp_path, hub, gateway):
    gateway.refuse_enrolments = True
    code = JoinCode(hub.root_sha256, secrets.token_bytes(8), secrets.token_bytes(16), gateway.address)
    home = SpokeHome(tmp_path / "spoke")
    home.make()
    with pytest.raises(JoinRefused):
        Enroller(home, Gateway(code.address, timeout_s=5), say=lambda _: None).enrol(
            code, Wish("web-1"), gateway=code.address, wait_s=1
        )
    assert files_in(home.root) == []


# Trust withheld


def test_t077_a_document_that_is_withheld_is_noticed_at_the_welcome_and_a_new_one_heals(world):
    world.gateway.trust_frames = lambda _: []
    world.end.named_trust_version = world.hub.chain.version + 1
    with world.serving() as daemon:
        world.end.wait_live(world.home.spoke_id)
        world.end.wait(lambda: "TRUST_GAP" in daemon._trust.behind, "TRUST_GAP")
        assert world.end.result(world.run().cid).state == "succeeded"
        world.gateway.trust_frames = world.gateway._trust_frames
        world.hub.publish()
        sent = world.end.command(world.home.spoke_id, replace(world.job(), op="update_trust", packages=()))
        assert world.end.result(sent.cid).state == "succeeded"
        assert daemon.uplink.trust.version == world.hub.chain.version
    kept = sorted((world.home.root / "trust").glob("0*.mad1"))
    assert kept[-1].read_bytes() == world.hub.chain.frames[-1]


def test_t077_after_expiry_new_commands_are_refused_and_reporting_goes_on(world, tmp_path):
    witness = tmp_path / "witness"
    world.gateway.trust_frames = lambda _: []
    with world.serving() as daemon:
        running = world.run("echo begun; sleep 1.5; echo finished")
        world.end.wait(lambda: b"begun" in world.end._spool_unlocked(running.cid), "its start")
        leap = daemon.uplink.trust.document.expires - world.end.now + 60
        world.hub.now += leap
        daemon.uplink._clock = _leaping(daemon.uplink._clock, leap)
        late = world.run(f"echo ran >> {witness}")
        assert world.end.reject(late.mid).code == Code.TRUST_EXPIRED
        assert world.end.result(running.cid).state == "succeeded"
        assert b"finished" in world.end.whole_log(running.cid)
        world.gateway.trust_frames = world.gateway._trust_frames
        world.hub.publish(issued=world.end.now, expires=world.end.now + 300 * DAY)
        sent = world.run("true")
        world.end.wait(lambda: world.end.results[sent.cid] or _rejected(world, sent.mid), "an answer")
        world.end.wait(lambda: daemon.uplink.trust.version == world.hub.chain.version, "the new document")
        assert world.end.result(world.run("true").cid).state == "succeeded"
    assert not witness.exists()


def _rejected(world, mid) -> bool:
    return any(reject.mid == mid for reject in world.end.rejects)


def _leaping(clock, seconds):
    return lambda: clock() + seconds


# Chunks


@pytest.fixture
def machine(tmp_path):
    home = SpokeHome(tmp_path / "cache")
    home.make()
    return ThisMachine(home, Supervisors(home, "/bin/false", standby=False))


@pytest.fixture
def cache(machine, gateway, tmp_path):
    return cache_on(machine, gateway)


def cache_on(machine, gateway, *, free_bytes=lambda: 1 << 40, **limits) -> PackageCache:
    door = Gateway(gateway.address, timeout_s=5)
    door.pin([gateway.pin])
    return PackageCache(
        machine,
        door,
        SpokeLimits(transfer_s=10, **limits),
        free_bytes=free_bytes,
        index=Path(machine.home) / "unpacked.json",
        sleep=lambda _: None,
    )


def package(gateway, size=400_000):
    content = os.urandom(size)
    ref = gateway.add_package(content, "web", "1.0.0", "tar")
    return content, ref, gateway.capability(new_id(), ref)


def packages_in(machine) -> list[Path]:
    return files_in(Path(machine.home) / "packages")


def code_of(act) -> Code:
    with pytest.raises(Refused) as refused:
        act()
    return refused.value.code


def test_t085_an_altered_chunk_is_refused_and_that_chunk_alone_is_fetched_again(cache, gateway):
    content, ref, capability = package(gateway)
    altered: list[bytes] = []

    def alter_one(chunks):
        if not altered:
            name, stored = chunks[3]
            altered.append(name)
            chunks = [*chunks[:3], (name, stored[:-1] + bytes([stored[-1] ^ 1])), *chunks[4:]]
        return write_chunk_stream(chunks)

    gateway.stream = alter_one
    assert Path(cache.fetch(ref, capability)).read_bytes() == content
    assert gateway.asked[1:] == [altered]


def test_t085_a_chunk_that_is_never_right_ends_in_one_code_and_no_file(cache, gateway, machine):
    _, ref, capability = package(gateway)
    gateway.stream = lambda chunks: write_chunk_stream(
        (name, stored[:-1] + bytes([stored[-1] ^ 1])) for name, stored in chunks
    )
    assert code_of(lambda: cache.fetch(ref, capability)) is Code.BLOB_HASH
    assert packages_in(machine) == []
    gateway.stream = write_chunk_stream
    assert Path(cache.fetch(ref, capability)).exists()


def test_t085_a_manifest_other_than_the_sealed_body_names_is_refused(cache, gateway):
    _, ref, capability = package(gateway)
    _, other_ref, _ = package(gateway)
    gateway.manifests[ref.manifest_id] = gateway.manifests[other_ref.manifest_id]
    assert code_of(lambda: cache.fetch(ref, capability)) is Code.BLOB_HASH


def test_t085_a_file_damaged_in_the_cache_is_found_before_use_and_made_anew(cache, gateway):
    content, ref, capability = package(gateway)
    path = Path(cache.fetch(ref, capability))
    cache.fetch(ref, capability)
    before = path.stat()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert Path(cache.fetch(ref, capability)).read_bytes() == content


def test_t085_a_chunk_damaged_in_the_store_is_found_and_fetched_again(cache, gateway, machine):
    content, ref, capability = package(gateway)
    Path(cache.fetch(ref, capability)).unlink()
    chunk = files_in(Path(machine.home) / "chunks")[0]
    stored = chunk.read_bytes()
    chunk.write_bytes(bytes([stored[0] ^ 1]) + stored[1:])
    requests = len(gateway.asked)
    assert Path(cache.fetch(ref, capability)).read_bytes() == content
    assert [len(asked) for asked in gateway.asked[requests:]] == [1]


def test_t086_a_stream_cut_at_a_chunk_boundary_makes_no_file_and_goes_on_with_the_rest(cache, gateway, machine):
    content, ref, capability = package(gateway)
    cut: list[int] = []

    def cut_once(chunks) -> Iterator[bytes]:
        whole = write_chunk_stream(chunks)
        if cut:
            yield from whole
            return
        cut.append(len(chunks))
        for _ in range(2 * (len(chunks) // 2)):
            yield next(whole)

    gateway.stream = cut_once
    assert Path(cache.fetch(ref, capability)).read_bytes() == content
    assert len(gateway.asked[1]) == cut[0] - cut[0] // 2


def test_t086_a_stream_that_is_always_cut_ends_in_one_code_and_no_file(cache, gateway, machine):
    _, ref, capability = package(gateway)
    gateway.stream = lambda _: iter(())
    assert code_of(lambda: cache.fetch(ref, capability)) is Code.BLOB_TRUNC
    assert packages_in(machine) == []


@pytest.mark.parametrize("more", [-1, 1])
def test_t089_a_size_that_the_manifest_does_not_have_is_refused(cache, gateway, machine, more):
    _, ref, capability = package(gateway)
    assert code_of(lambda: cache.fetch(replace(ref, size=ref.size + more), capability)) is Code.BLOB_SIZE
    assert packages_in(machine) == []
    assert gateway.asked == []


def test_t089_a_manifest_that_lacks_a_chunk_is_refused(cache, gateway, machine):
    content = os.urandom(300_000)
    whole = gateway.manifest_of(content, "web", "1.0.0", "tar")
    short = replace(whole, chunks=whole.chunks[:-1], size=whole.size - whole.chunks[-1].length)
    ref = gateway.add_manifest(short)
    capability = gateway.capability(new_id(), ref)
    assert code_of(lambda: cache.fetch(ref, capability)) is Code.BLOB_HASH
    assert packages_in(machine) == []


def test_t089_an_endless_sender_is_stopped_at_the_first_surplus_chunk(cache, gateway, machine):
    _, ref, capability = package(gateway)

    def endless(chunks) -> Iterator[bytes]:
        while True:
            for name, stored in chunks:
                yield name + len(stored).to_bytes(4, "big") + stored

    gateway.stream = endless
    assert code_of(lambda: cache.fetch(ref, capability)) is Code.BLOB_SIZE
    assert gateway.sent_bytes < 20_000_000


def test_t089_a_chunk_that_announces_a_gigabyte_is_refused_before_it_is_read(cache, gateway):
    _, ref, capability = package(gateway)
    gateway.stream = lambda chunks: iter([chunks[0][0] + (1 << 30).to_bytes(4, "big"), bytes(1000)])
    assert code_of(lambda: cache.fetch(ref, capability)) is Code.BLOB_SIZE


def test_t089_what_unpacks_out_of_all_proportion_is_stopped(cache, gateway, machine):
    import zstandard

    bomb = zstandard.compress(bytes(200_000_000))
    ref = gateway.add_package(bomb, "web", "1.0.0", "tar.zst")
    capability = gateway.capability(new_id(), ref)
    assert code_of(lambda: cache.fetch(ref, capability)) is Code.BLOB_SIZE
    assert packages_in(machine) == []


def test_t090_a_package_replaced_between_two_tries_fails_clearly(cache, gateway, machine):
    _, ref, capability = package(gateway)
    gateway.stream = lambda _: iter(())
    assert code_of(lambda: cache.fetch(ref, capability)) is Code.BLOB_TRUNC
    gateway.stream = write_chunk_stream
    gateway.stored.clear()
    _, new_ref, _ = package(gateway)
    gateway.manifests[ref.manifest_id] = gateway.manifests[new_ref.manifest_id]
    assert code_of(lambda: cache.fetch(ref, capability)) is Code.BLOB_HASH
    del gateway.manifests[ref.manifest_id]
    assert code_of(lambda: cache.fetch(ref, capability)) is Code.BLOB_TRUNC
    assert packages_in(machine) == []


def test_t091_too_little_space_is_said_before_a_byte_is_fetched(machine, gateway):
    _, ref, capability = package(gateway)
    cache = cache_on(machine, gateway, free_bytes=lambda: ref.size)
    assert code_of(lambda: cache.fetch(ref, capability)) is Code.BLOB_SPACE
    assert gateway.asked == []
    assert Path(cache_on(machine, gateway).fetch(ref, capability)).exists()


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_t091_a_disk_that_fills_up_half_way_is_said_and_a_retry_after_clearing_works(tmp_path, gateway):
    content, ref, capability = package(gateway, 2_000_000)
    with small_disk(tmp_path / "disk", "3m") as disk:
        home = SpokeHome(disk / "spoke")
        home.make()
        machine = ThisMachine(home, Supervisors(home, "/bin/false", standby=False))
        cache = cache_on(machine, gateway)
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(2_000_000))
        assert code_of(lambda: cache.fetch(ref, capability)) is Code.BLOB_SPACE
        assert packages_in(machine) == []
        assert not [path for path in files_in(disk) if path.name.startswith(".")]
        ballast.unlink()
        shutil.rmtree(home.root / "chunks")
        small_ref = gateway.add_package(content[:900_000], "web", "1.0.1", "tar")
        path = Path(cache.fetch(small_ref, gateway.capability(new_id(), small_ref)))
        assert hashlib.sha256(path.read_bytes()).hexdigest() == small_ref.sha256


def test_a_capability_that_is_not_good_gets_nothing(cache, gateway, hub):
    _, ref, capability = package(gateway)
    hub.now += 2 * DAY
    assert code_of(lambda: cache.fetch(ref, capability)) is Code.ENV_EXPIRED


def test_a_gateway_with_another_key_is_not_shown_the_capability(machine, gateway, hub):
    _, ref, capability = package(gateway)
    door = Gateway(gateway.address, timeout_s=5)
    door.pin(["0" * 64])
    with pytest.raises(Refused) as refused:
        door.manifest(ref.manifest_id, capability)
    assert refused.value.code is Code.TLS_PIN
    assert gateway.log == []

"""Hostile, broken and impatient uploads: what they cost, what they leave, what they reach."""

import hashlib
import io
import json
import random
import struct
import subprocess
import sys
import threading
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.errors import Conflict, HubError, Invalid, TooLarge
from hub.packages.errors import ArchiveUnfit, NoSpace, UploadDiffers, UploadTooSlow, UploadTruncated
from hub.packages.incoming import LISTING_MAX, PushListing
from hub.packages.names import parse_filename, parse_package_name
from hub.storage.database import connection
from hub.storage.models import Chunk, Pack, Package, PackageChunk, PackageVersion, StoredManifest
from tests.fakes.feed import Feed, noise, push_body, tar_of, zip_of
from tests.fakes.installed_hub import InstalledHub, installed_hub


@pytest.fixture
def hub(tmp_path) -> Iterator[InstalledHub]:
    with installed_hub(tmp_path) as installed:
        yield installed


@pytest.fixture
def feed(hub) -> Feed:
    return Feed(hub)


def nothing_is_left(feed: Feed) -> None:
    assert feed.files() == []
    for table in (Package, PackageVersion, PackageChunk, Pack, Chunk, StoredManifest):
        assert table.select().count() == 0


def an_honest_push_works(feed: Feed) -> None:
    assert feed.push("honest.1.0.0.zip", zip_of(**{"a.txt": b"honest"})).version == "1.0.0"


BAD_NAMES = [
    "..\\..\\etc.1.0.0.zip", "../../etc.1.0.0.zip", "a/b.1.0.0.zip", "-1.zip", "a.-1.zip", "a.1.0\x00.zip",
    "a.1.0.0\x00.zip", "a.1.0.0.zip/../x", "a" * 5_000 + ".1.0.0.zip", "a." + "1" * 5_000 + ".0.0.zip",
    "a.1.0.0-" + "x" * 5_000 + ".zip", "", ".", "..", "a.1.0.0", "a.1.0.0.exe", "a\u202e.1.0.0.zip", "\ud800.1.0.0.zip",
    None, 7, ["a.1.0.0.zip"], {"name": "a.1.0.0.zip"}, True,
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: ascii(name)[:40])
def test_t100_a_name_that_is_none_is_refused_before_a_byte_is_read(feed, name):
    with pytest.raises(Invalid) as refused:
        parse_package_name(name)
    assert refused.value.status == 400
    assert refused.value.field == "name"
    body = json.dumps({"name": name, "size": 0, "sha256": "0" * 64, "chunks": []}).encode()
    with pytest.raises(Invalid):
        feed.ingestion.chunked(io.BytesIO(struct.pack(">I", len(body)) + body))
    nothing_is_left(feed)
    an_honest_push_works(feed)


def test_t100_the_stored_paths_are_ours(feed):
    feed.push("My.Package.1.0.0-weird.name.zip", zip_of(**{"a.txt": b"x"}))
    assert feed.files()
    for name in feed.files():
        assert len(name) == 32
        assert set(name) <= set("0123456789abcdef")


class Aborted:
    """A client that goes away after so many bytes: by an end, or by an error of the web server."""

    def __init__(self, content: bytes, after: int, *, raises: bool) -> None:
        self._stream = io.BytesIO(content[:after])
        self._raises = raises

    def read(self, size: int = -1) -> bytes:
        piece = self._stream.read(size)
        if not piece and self._raises:
            raise OSError("connection reset by peer")
        return piece


@pytest.fixture
def small_batches(monkeypatch):
    """So that an abort finds packs half written, without uploads of many megabytes."""
    monkeypatch.setattr("hub.packages.upload._BATCH", 2)


@pytest.mark.usefixtures("small_batches")
def test_t103_an_upload_aborted_at_random_bytes_leaves_nothing(feed):
    content = tar_of(data=noise(900_000))
    dice = random.Random(103)
    for round_ in range(50):
        after = dice.randrange(len(content))
        stream = Aborted(content, after, raises=bool(round_ % 2))
        with pytest.raises(UploadTruncated) as refused:
            feed.ingestion.whole(parse_filename("app.1.0.0.tar"), stream, length=len(content))
        assert refused.value.status == 400
    nothing_is_left(feed)
    an_honest_push_works(feed)


@pytest.mark.usefixtures("small_batches")
def test_t103_a_push_of_chunks_aborted_at_random_bytes_leaves_nothing(feed):
    content = tar_of(data=noise(300_000))
    probe, body = feed.push_chunks("app.1.0.0.tar", content)
    feed.ingestion.discard(probe)
    dice = random.Random(104)
    for _ in range(50):
        with pytest.raises((UploadTruncated, Invalid)):
            feed.ingestion.chunked(io.BytesIO(body[: dice.randrange(len(body))]), length=len(body))
    nothing_is_left(feed)
    an_honest_push_works(feed)


def test_t103_an_unannounced_end_is_found_by_the_archive(feed):
    content = tar_of(data=noise(300_000))
    with pytest.raises(ArchiveUnfit):
        feed.ingestion.whole(parse_filename("app.1.0.0.tar"), io.BytesIO(content[:200_000]))
    nothing_is_left(feed)


def test_t104_two_files_as_one_version_at_once_leave_one_winner(feed):
    contents = [zip_of(**{"a.txt": noise(200_000, seed=seed)}) for seed in range(8)]
    start = threading.Barrier(len(contents))
    outcomes: list[object] = [None] * len(contents)

    def push(index: int) -> None:
        with connection():
            ingested = feed.ingestion.whole(parse_filename("app.1.0.0.zip"), io.BytesIO(contents[index]))
            start.wait(30)
            try:
                outcomes[index] = feed.complete(ingested)[0].sha256
            except Conflict as error:
                outcomes[index] = error.status
                feed.ingestion.discard(ingested)

    threads = [threading.Thread(target=push, args=(index,)) for index in range(len(contents))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    (winner,) = [index for index, outcome in enumerate(outcomes) if outcome != 409]
    assert outcomes[winner] == hashlib.sha256(contents[winner]).hexdigest()
    assert outcomes.count(409) == len(contents) - 1
    (row,) = PackageVersion.select()
    assert row.sha256 == outcomes[winner]
    assert StoredManifest.select().count() == 1
    assert len(feed.files()) == 1


def test_t159_more_than_the_limit_is_refused_by_its_announcement(hub):
    feed = Feed(hub, upload_bytes=100_000)
    with pytest.raises(TooLarge) as refused:
        feed.ingestion.whole(parse_filename("app.1.0.0.tar"), _Untouchable(), length=100_001)
    assert refused.value.status == 413
    nothing_is_left(feed)


class _Untouchable:
    def read(self, size: int = -1) -> bytes:
        raise AssertionError("nothing needed to be read")


class Endless:
    """Chunked transfer without length and without end."""

    def __init__(self) -> None:
        self.sent = 0

    def read(self, size: int = -1) -> bytes:
        self.sent += size
        return noise(size, seed=self.sent)


def test_t159_an_endless_upload_is_cut_at_the_limit(hub):
    feed = Feed(hub, upload_bytes=3_000_000)
    stream = Endless()
    with pytest.raises(TooLarge):
        feed.ingestion.whole(parse_filename("app.1.0.0.tar"), stream)
    assert stream.sent <= 5_000_000
    nothing_is_left(feed)


@pytest.mark.parametrize("lie", [-1, 1])
def test_t159_a_lying_length_is_found(feed, lie):
    content = zip_of(**{"a.bin": noise(100_000)})
    if lie > 0:
        with pytest.raises(UploadTruncated):
            feed.ingestion.whole(parse_filename("app.1.0.0.zip"), io.BytesIO(content), length=len(content) + lie)
    else:
        # A server hands on as much as was announced; the archive then lacks its end.
        with pytest.raises(ArchiveUnfit):
            feed.ingestion.whole(parse_filename("app.1.0.0.zip"), io.BytesIO(content[:lie]), length=len(content) + lie)
    nothing_is_left(feed)


def test_t159_a_byte_a_second_is_given_up_on(hub):
    class Trickle:
        now = 0.0

        def read(self, size: int = -1) -> bytes:
            Trickle.now += 1
            return b"x"

    feed = Feed(hub, clock=lambda: Trickle.now)
    with pytest.raises(UploadTooSlow) as refused:
        feed.ingestion.whole(parse_filename("app.1.0.0.tar"), Trickle())
    assert refused.value.status == 408
    assert Trickle.now < 60
    nothing_is_left(feed)


def test_t159_a_listing_larger_than_any_package_needs_is_refused_before_it_is_read(feed):
    with pytest.raises(TooLarge):
        feed.ingestion.chunked(io.BytesIO(struct.pack(">I", LISTING_MAX + 1)))
    nothing_is_left(feed)


def _listing(**changes) -> dict[str, object]:
    content = b"x" * 10
    sha256 = hashlib.sha256(content).hexdigest()
    return {"name": "a.1.0.0.zip", "size": 10, "sha256": sha256, "chunks": [[sha256, 10]]} | changes


@pytest.mark.parametrize(
    "listing",
    [
        _listing(size=-1), _listing(size="10"), _listing(size=True), _listing(size=11), _listing(size=2**80),
        _listing(sha256="0" * 63), _listing(sha256="G" * 64), _listing(sha256=None),
        _listing(chunks=None), _listing(chunks=[["0" * 64, 0]]), _listing(chunks=[["0" * 64, -1]]),
        _listing(chunks=[["0" * 64, 2**40]]), _listing(chunks=[["../x", 10]]), _listing(chunks=[["0" * 64]]),
        _listing(chunks=[["0" * 64, 10, 1]]), _listing(chunks=[["0" * 64, True]]), _listing(chunks=[{"a": 1}]),
        [], 7, "text", None,
    ],
    ids=lambda value: ascii(value)[-60:],
)  # fmt: skip
def test_t159_a_listing_that_is_none_is_refused(feed, listing):
    body = json.dumps(listing).encode()
    with pytest.raises(HubError) as refused:
        feed.ingestion.chunked(io.BytesIO(struct.pack(">I", len(body)) + body))
    assert refused.value.status in {400, 413}
    nothing_is_left(feed)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000, b"\xef\xbb\xbf{}"])
def test_t171_a_listing_of_broken_json_is_refused(feed, text):
    with pytest.raises(Invalid):
        feed.ingestion.chunked(io.BytesIO(struct.pack(">I", len(text)) + text))
    nothing_is_left(feed)


def test_t085_a_chunk_with_another_hash_is_refused(feed):
    content = zip_of(**{"a.txt": noise(1_000)})
    listing = PushListing(len(content), hashlib.sha256(content).hexdigest(), (("0" * 64, len(content)),))
    with pytest.raises(UploadDiffers) as refused:
        feed.ingestion.chunked(io.BytesIO(push_body("app.1.0.0.zip", listing, [content])))
    assert refused.value.code == "BLOB_HASH"
    nothing_is_left(feed)


def test_t090_chunks_collected_between_question_and_push_are_a_clear_conflict(feed):
    content = tar_of(data=noise(300_000))
    feed.complete(feed.push_chunks("app.1.0.0.tar", content)[0])
    again, _ = feed.push_chunks("app.1.0.1.tar", content)
    PackageChunk.delete().execute()
    Chunk.delete().execute()
    with pytest.raises(Conflict, match="push the package again"):
        feed.complete(again)


_FULL_DISK = """
import io, resource, sys
from pathlib import Path
from tests.fakes.feed import Feed, noise, tar_of, zip_of
from tests.fakes.installed_hub import installed_hub
from hub.packages.names import parse_filename
from hub.packages.errors import NoSpace

with installed_hub(Path(sys.argv[1])) as hub:
    feed = Feed(hub)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, hard))
    try:
        feed.ingestion.whole(parse_filename("app.1.0.0.tar"), io.BytesIO(tar_of(data=noise(3_000_000))))
    except NoSpace as error:
        print(error.code, error.status, feed.files(), error.detail)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    print(feed.push("app.1.0.0.tar", tar_of(data=noise(3_000_000))).version)
"""


def test_t091_a_full_disk_is_said_clearly_leaves_nothing_and_the_next_try_works(tmp_path):
    """The limit on a file's size makes the system refuse the bytes in the middle of an upload, as a quota does."""
    ran = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    first, second = ran.stdout.splitlines(), ran.stderr
    assert second == ""
    assert first[0].startswith("BLOB_SPACE 507 [] the hub's disk is full")
    assert first[1] == "1.0.0"


def test_t091_an_upload_that_cannot_fit_is_refused_before_it_is_read(feed, monkeypatch):
    monkeypatch.setattr(type(feed.store.folder), "free_bytes", property(lambda _: 1_000_000))
    with pytest.raises(NoSpace):
        feed.ingestion.whole(parse_filename("app.1.0.0.tar"), _Untouchable(), length=950_000)
    nothing_is_left(feed)


@pytest.mark.parametrize(
    "entry",
    ["../evil", "/etc/passwd", "..\\evil", "C:\\evil", "\\\\host\\share", "a/../../b", "./../x", "a\x01b"],
    ids=ascii,
)
def test_t092_an_archive_that_leaves_its_folder_is_never_stored(feed, entry):
    with pytest.raises(ArchiveUnfit) as refused:
        feed.push("app.1.0.0.zip", zip_of(**{entry: b"x"}))
    assert refused.value.code in {"ARC_PATH", "ARC_NAME"}
    nothing_is_left(feed)


def test_t094_a_bomb_is_refused_in_little_memory(feed):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("zeros", "w") as entry:
        for _ in range(200):
            entry.write(bytes(1_000_000))
    tracemalloc.start()
    with pytest.raises(ArchiveUnfit) as refused:
        feed.push("app.1.0.0.zip", held.getvalue())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refused.value.code == "ARC_BOMB"
    assert peak < 64_000_000
    nothing_is_left(feed)


@pytest.mark.parametrize("junk", [b"#!/bin/sh\n", b"\x00" * 100])
def test_t102_a_polyglot_is_refused(feed, junk):
    honest = zip_of(**{"a.txt": b"x"})
    for content in (junk + honest, honest + junk, honest + honest):
        with pytest.raises(ArchiveUnfit) as refused:
            feed.push("app.1.0.0.zip", content)
        assert refused.value.code in {"ARC_FORMAT", "ARC_OVERLAP"}
    nothing_is_left(feed)


def test_t172_pickled_bytes_are_no_package(feed):
    with pytest.raises(ArchiveUnfit):
        feed.push("app.1.0.0.zip", b"\x80\x04\x95cos\nsystem\n(S'true'\ntR.")
    nothing_is_left(feed)


def test_uploads_take_the_memory_of_a_few_batches_whatever_their_size(feed):
    content = tar_of(data=noise(40_000_000))
    tracemalloc.start()
    feed.push("app.1.0.0.tar", content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 48_000_000

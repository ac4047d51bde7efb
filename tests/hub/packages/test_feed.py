"""Pushing, finding, downloading and deleting packages."""

import hashlib
import io

import pytest
import zstandard

from hub.errors import Conflict, Invalid, NotFound
from hub.packages import garbage
from hub.packages.download import open_package
from hub.packages.errors import ArchiveUnfit, StoreDamaged, UploadDiffers
from hub.packages.feed import PushComplete, delete_version, find, newest, packages, push_complete, versions
from hub.packages.incoming import PushListing
from hub.packages.names import parse_filename
from hub.packages.references import refs_for
from hub.storage.database import write_tx
from hub.storage.models import (
    Chunk,
    Lifecycle,
    Pack,
    Package,
    PackageChunk,
    PackageVersion,
    Project,
    Release,
    StoredManifest,
)
from tests.fakes.feed import noise, push_body, tar_of, zip_of
from wire.chunks_sealed import open_manifest


def test_a_package_comes_back_as_the_bytes_that_were_pushed(feed):
    content = tar_of(**{"app/index.html": noise(700_000), "app/empty": b""})
    row = feed.push("storefront.1.4.0.tar", content)
    assert (row.size, row.version, row.extension) == (len(content), "1.4.0", "tar")
    assert b"".join(open_package(feed.store, feed.hub.portal, row)) == content


@pytest.mark.parametrize(
    ("extension", "mode"), [("tar", "w"), ("tar.gz", "w:gz"), ("tar.bz2", "w:bz2"), ("tar.zst", "w")]
)
def test_every_kind_of_tar_is_taken(feed, extension, mode):
    content = tar_of(mode, **{"a.txt": b"hello" * 1_000})
    if extension == "tar.zst":
        content = zstandard.ZstdCompressor().compress(content)
    row = feed.push(f"app.1.0.0.{extension}", content)
    assert b"".join(open_package(feed.store, feed.hub.portal, row)) == content


@pytest.mark.parametrize("extension", ["zip", "nupkg", "whl", "jar"])
def test_every_kind_of_zip_is_taken(feed, extension):
    content = zip_of(**{"a.txt": b"hello" * 1_000})
    assert feed.push(f"app.1.0.0.{extension}", content).size == len(content)


def test_the_reference_in_a_job_opens_the_manifest_that_the_gateway_serves(feed):
    row = feed.push("app.1.0.0.zip", zip_of(**{"a.txt": noise(100_000)}))
    ref = refs_for(feed.hub.engine, row.id)
    sealed = StoredManifest.get_by_id(ref.manifest_id).sealed
    manifest = open_manifest(bytes.fromhex(ref.manifest_key), ref.manifest_id, sealed, ref.manifest_sha256)
    assert (manifest.package, manifest.version, manifest.sha256.hex()) == ("app", "1.0.0", row.sha256)
    assert Chunk.select().count() == len(manifest.chunks)


def test_the_same_bytes_pushed_twice_are_one_version(feed):
    content = zip_of(**{"a.txt": b"one"})
    first = feed.push("app.1.0.0.zip", content)
    again, created = feed.complete(feed.ingestion.whole(parse_filename("app.1.0.0.zip"), io.BytesIO(content)))
    assert (again.id, created) == (first.id, False)
    assert StoredManifest.select().count() == 1


def test_the_same_version_with_other_bytes_is_a_conflict(feed):
    first = feed.push("app.1.0.0.zip", zip_of(**{"a.txt": b"one"}))
    with pytest.raises(Conflict, match="exists with other bytes"):
        feed.push("app.1.0.0.zip", zip_of(**{"a.txt": b"two"}))
    assert find("app", "1.0.0").sha256 == first.sha256


@pytest.mark.parametrize("other", ["1.0.0+linux", "1.0.0.0"])
def test_another_spelling_of_a_version_is_a_conflict(feed, other):
    feed.push("app.1.0.0.zip", zip_of(**{"a.txt": b"one"}))
    with pytest.raises(Conflict, match=r"same version as 1\.0\.0"):
        feed.push(f"app.{other}.zip", zip_of(**{"a.txt": b"one"}))


def test_a_package_id_has_one_spelling(feed):
    feed.push("Store.Front.1.0.0.zip", zip_of(**{"a.txt": b"one"}))
    with pytest.raises(Conflict, match=r"'Store\.Front'"):
        feed.push("store.front.1.1.0.zip", zip_of(**{"a.txt": b"two"}))
    assert find("store.FRONT", "1.0.0").version == "1.0.0"


def test_versions_are_listed_newest_first(feed):
    for version in ("1.2.0", "1.10.0", "1.10.0-rc.1", "1.9.9.4"):
        feed.push(f"app.{version}.zip", zip_of(**{"v.txt": version.encode()}))
    (package,) = packages()
    assert [row.version for row in versions(package.id)] == ["1.10.0", "1.10.0-rc.1", "1.9.9.4", "1.2.0"]
    assert newest("app").version == "1.10.0"


def test_what_is_not_there_is_not_found(feed):
    feed.push("app.1.0.0-rc.1.zip", zip_of(**{"a.txt": b"one"}))
    for missing in (lambda: find("app", "2.0.0"), lambda: find("nobody", "1.0.0"), lambda: find("app", "latest")):
        with pytest.raises(NotFound):
            missing()
    with pytest.raises(NotFound):
        newest("app", prereleases=False)


def test_a_truncated_package_is_refused_and_leaves_nothing(feed):
    content = zip_of(**{"a.bin": noise(300_000)})
    with pytest.raises(ArchiveUnfit) as refused:
        feed.push("app.1.0.0.zip", content[: len(content) // 2])
    assert refused.value.code == "ARC_FORMAT"
    assert (feed.files(), Chunk.select().count(), Package.select().count()) == ([], 0, 0)


@pytest.mark.parametrize("name", ["app.1.0.0.zip", "app.1.0.0.tar", "app.1.0.0.tar.gz", "app.1.0.0.tar.zst"])
@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x05\x06", noise(100_000)])
def test_what_is_no_archive_is_refused(feed, name, content):
    with pytest.raises(ArchiveUnfit):
        feed.push(name, content)
    assert feed.files() == []


def test_an_archive_that_leaves_its_folder_is_refused(feed):
    with pytest.raises(ArchiveUnfit) as refused:
        feed.push("app.1.0.0.tar", tar_of(**{"../evil": b"x"}))
    assert refused.value.code == "ARC_PATH"
    assert feed.files() == []


def test_a_second_version_stores_only_what_changed(feed):
    body = noise(3_000_000)
    feed.push("app.1.0.0.tar", tar_of(data=body))
    before = Chunk.select().count()
    feed.push("app.1.0.1.tar", tar_of(data=body[:1_000_000] + b"inserted" + body[1_000_000:]))
    assert Chunk.select().count() - before <= 4


def test_a_push_sends_only_the_chunks_that_the_package_lacks(feed):
    body = noise(3_000_000)
    first, _ = feed.push_chunks("app.1.0.0.tar", tar_of(data=body))
    feed.complete(first)
    changed = tar_of(data=body[:1_000_000] + b"inserted" + body[1_000_000:])
    second, sent = feed.push_chunks("app.1.0.1.tar", changed)
    row, created = feed.complete(second)
    assert created
    assert len(sent) < 250_000
    assert 0 < second.bytes_new < 200_000
    assert b"".join(open_package(feed.store, feed.hub.portal, row)) == changed


def test_nothing_is_sent_again_for_a_version_under_another_number(feed):
    content = tar_of(data=noise(500_000))
    feed.complete(feed.push_chunks("app.1.0.0.tar", content)[0])
    again, _ = feed.push_chunks("app.1.0.1.tar", content)
    assert (again.chunks_new, again.bytes_new) == (0, 0)


def test_a_chunk_of_another_package_counts_as_missing(feed):
    """Else a hash would be enough to read, or to recognise, what others have stored."""
    content = tar_of(secret=noise(500_000))
    feed.complete(feed.push_chunks("theirs.1.0.0.tar", content)[0])
    mine, sent = feed.push_chunks("mine.1.0.0.tar", content)
    assert len(sent) > len(content)
    assert mine.chunks_new == mine.chunks
    assert Chunk.select().count() == mine.chunks


def test_a_chunk_that_is_not_what_the_listing_says_is_refused(feed):
    content = zip_of(**{"a.txt": b"one"})
    claimed = PushListing(len(content), "0" * 64, (("1" * 64, len(content)),))
    with pytest.raises(UploadDiffers, match="chunk 0"):
        feed.ingestion.chunked(io.BytesIO(push_body("app.1.0.0.zip", claimed, [content])))
    whole = PushListing(len(content), "0" * 64, ((hashlib.sha256(content).hexdigest(), len(content)),))
    with pytest.raises(UploadDiffers, match="not the file"):
        feed.ingestion.chunked(io.BytesIO(push_body("app.1.0.0.zip", whole, [content])))
    with pytest.raises(UploadDiffers, match="more bytes"):
        feed.ingestion.chunked(io.BytesIO(push_body("app.1.0.0.zip", whole, [content]) + b"x"))
    assert feed.files() == []


def test_the_store_betrays_nothing_of_what_it_holds(feed):
    canary = b"canary-of-the-package " * 5_000
    feed.push("app.1.0.0.tar", tar_of(**{"secret.txt": canary}))
    held = b"".join(path.read_bytes() for path in feed.hub.home.rglob("*") if path.is_file())
    assert b"canary-of-the-package" not in held
    assert hashlib.sha256(canary).hexdigest().encode() not in held


def test_the_engine_believes_the_manifest_and_not_the_request(feed):
    ingested = feed.ingestion.whole(parse_filename("app.1.0.0.zip"), io.BytesIO(zip_of(**{"a.txt": b"one"})))
    honest = ingested.completion()
    for lie in (
        {"version": "2.0.0"},
        {"package": "other"},
        {"manifest_sha256": "0" * 64},
        {"manifest_key_sealed": "00"},
    ):
        with pytest.raises(Invalid), write_tx():
            push_complete(feed.hub.acting(), PushComplete(**(honest | lie)))
    assert PackageVersion.select().count() == 0


def test_a_deleted_version_gives_back_the_room_of_its_own_chunks(feed):
    body = noise(2_000_000)
    first = feed.push("app.1.0.0.tar", tar_of(data=body))
    second = feed.push("app.1.0.1.tar", tar_of(data=body, more=noise(2_000_000, seed=2)))
    with write_tx():
        delete_version(feed.hub.acting(), second.id)
    now_ms = feed.hub.acting().now_ms + 1_000
    freed = garbage.collect(feed.store, now_ms, grace_s=0)
    assert freed.bytes > 1_900_000
    assert b"".join(open_package(feed.store, feed.hub.portal, first)) == tar_of(data=body)
    with write_tx():
        delete_version(feed.hub.acting(), first.id)
    garbage.collect(feed.store, now_ms, grace_s=0)
    assert (feed.files(), Chunk.select().count(), Pack.select().count(), Package.select().count()) == ([], 0, 0, 0)


def test_a_pack_that_is_mostly_waste_is_rewritten(feed):
    shared = noise(300_000, seed=3)
    first = feed.push("app.1.0.0.tar", tar_of(big=noise(3_000_000), shared=shared))
    second = feed.push("app.1.0.1.tar", tar_of(shared=shared))
    with write_tx():
        delete_version(feed.hub.acting(), first.id)
    garbage.collect(feed.store, feed.hub.acting().now_ms + 1_000, grace_s=0)
    assert sum(feed.store.folder.sizes().values()) < 500_000
    assert b"".join(open_package(feed.store, feed.hub.portal, second)) == tar_of(shared=shared)


def test_a_collection_leaves_a_young_upload_alone(feed):
    ingested = feed.ingestion.whole(parse_filename("app.1.0.0.zip"), io.BytesIO(zip_of(**{"a.txt": noise(100_000)})))
    garbage.collect(feed.store, feed.hub.acting().now_ms)
    row, _ = feed.complete(ingested)
    assert b"".join(open_package(feed.store, feed.hub.portal, row))


def test_an_upload_whose_chunks_were_collected_says_push_again(feed):
    ingested = feed.ingestion.whole(parse_filename("app.1.0.0.zip"), io.BytesIO(zip_of(**{"a.txt": noise(100_000)})))
    with write_tx():
        Chunk.delete().execute()
    with pytest.raises(Conflict, match="push the package again"):
        feed.complete(ingested)
    assert PackageVersion.select().count() == PackageChunk.select().count() == 0


def test_a_discarded_upload_leaves_nothing(feed):
    ingested = feed.ingestion.whole(parse_filename("app.1.0.0.zip"), io.BytesIO(zip_of(**{"a.txt": noise(100_000)})))
    feed.ingestion.discard(ingested)
    assert (feed.files(), Chunk.select().count(), StoredManifest.select().count()) == ([], 0, 0)


def test_a_torn_pack_left_by_a_crash_is_swept_and_one_being_written_is_not(feed):
    alive = feed.store.writer()
    alive.add(bytes(32), b"half")
    torn = feed.hub.home / "chunks" / "incoming" / ("f" * 32)
    torn.write_bytes(b"MAP1" + bytes(20))
    garbage.collect(feed.store, feed.hub.acting().now_ms + 10_000, grace_s=-5)
    assert not torn.exists()
    assert len(feed.files()) == 1
    alive.abandon()
    assert feed.files() == []


def test_a_damaged_chunk_is_found_before_it_is_given_out(feed):
    row = feed.push("app.1.0.0.tar", tar_of(data=noise(300_000)))
    (pack,) = (feed.hub.home / "chunks" / "packs").iterdir()
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)
    with pytest.raises(StoreDamaged, match="damaged"):
        list(open_package(feed.store, feed.hub.portal, row))
    pack.write_bytes(content[:1_000])
    with pytest.raises(StoreDamaged, match="not in the store"):
        list(open_package(feed.store, feed.hub.portal, row))


def test_a_release_keeps_its_package(feed):
    row = feed.push("app.1.0.0.zip", zip_of(**{"a.txt": b"one"}))
    lifecycle = Lifecycle.create(name="Default")
    project = Project.create(name="Shop", slug="shop", lifecycle=lifecycle.id)
    packages = {"app": "1.0.0"}
    Release.create(project=project.id, version="7.0.0", snapshot=b"{}", snapshot_sha256="0" * 64, packages=packages)
    with pytest.raises(Conflict, match=r"release 7\.0\.0 uses app 1\.0\.0"), write_tx():
        delete_version(feed.hub.acting(), row.id)

"""Sealed files: what goes in comes out, whole or not at all."""

import hashlib
import io
import os
import stat

import pytest

from hub.errors import FileDamaged, NotFound
from hub.storage.files import FileStore

ID = "ab" * 16


@pytest.fixture
def store(installed_hub, tmp_path):
    return FileStore(installed_hub.vault, tmp_path / "artifacts")


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 200_000])
def test_what_goes_in_comes_out(store, size):
    content = os.urandom(size)
    stored = store.write("artifact", ID, io.BytesIO(content))
    assert (stored.size, stored.sha256) == (size, hashlib.sha256(content).hexdigest())
    assert b"".join(store.open("artifact", ID)) == content


def test_parts_of_any_size_are_taken(store):
    store.write("artifact", ID, (b"x" * size for size in (1, 70_000, 0, 65_536, 3)))
    assert b"".join(store.open("artifact", ID)) == b"x" * 135_540


def test_the_file_is_private_and_shows_nothing(store):
    store.write("artifact", ID, io.BytesIO(b"canary" * 1000))
    path = store.path_of("artifact", ID)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"canary" not in path.read_bytes()


def test_a_writer_that_fails_leaves_nothing(store):
    def breaks():
        yield b"x" * 100_000
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        store.write("artifact", ID, breaks())
    assert not any(path.is_file() for path in store.path_of("artifact", ID).parent.rglob("*"))


def test_the_portal_reads_what_the_engine_wrote(store, installed_hub, tmp_path):
    store.write("artifact", ID, io.BytesIO(b"hello"))
    theirs = FileStore(installed_hub.vault_of("portal"), tmp_path / "artifacts")
    assert b"".join(theirs.open("artifact", ID)) == b"hello"


def test_a_copy_appears_only_if_all_of_it_was_sound(store, tmp_path):
    store.write("artifact", ID, io.BytesIO(b"x" * 200_000))
    assert store.copy_out("artifact", ID, tmp_path / "out").size == 200_000
    path = store.path_of("artifact", ID)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(FileDamaged):
        store.copy_out("artifact", ID, tmp_path / "again")
    assert sorted(item.name for item in tmp_path.glob("*") if item.is_file() and "key" not in item.name) == ["out"]


def test_what_is_not_there_is_not_found(store):
    with pytest.raises(NotFound):
        list(store.open("artifact", ID))


@pytest.mark.parametrize(
    ("kind", "object_id"), [("../x", ID), ("artifact", "../../etc"), ("artifact", "AB" * 16), ("", ID)]
)
def test_a_name_that_is_not_ours_never_becomes_a_path(store, kind, object_id):
    with pytest.raises(ValueError):
        store.path_of(kind, object_id)

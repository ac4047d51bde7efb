"""Blobs at rest and on the wire: what comes after the end, and pieces that change places, are refused."""

import io
import os

import pytest

from hub.errors import FileDamaged
from hub.storage.files import FileStore
from hub.storage.vault_stream import PIECE_OVERHEAD, PIECE_SIZE, STREAM_HEADER_SIZE, seal_stream
from wire.chunks_sealed import ChunkKeys, open_chunk, read_chunk_stream, seal_chunk, write_chunk_stream
from wire.errors import Code, Refused

ONE, TWO = "11" * 16, "22" * 16
SEALED_PIECE = PIECE_SIZE + PIECE_OVERHEAD


@pytest.fixture
def store(installed_hub, tmp_path):
    return FileStore(installed_hub.vault, tmp_path / "artifacts")


def head_size(whole: bytes, pieces: int, last: int) -> int:
    return len(whole) - STREAM_HEADER_SIZE - (pieces - 1) * SEALED_PIECE - (last + PIECE_OVERHEAD)


def test_t087_nothing_is_taken_after_the_final_piece(store):
    store.write("artifact", ONE, io.BytesIO(b"x" * PIECE_SIZE))
    path = store.path_of("artifact", ONE)
    whole = path.read_bytes()
    final = whole[-SEALED_PIECE:]
    second_stream = b"".join(seal_stream(os.urandom(32), b"head", [b"more"]))
    for tail in (final, final * 2, second_stream, b"\0" * SEALED_PIECE):
        path.write_bytes(whole + tail)
        with pytest.raises(FileDamaged):
            list(store.open("artifact", ONE))
    path.write_bytes(whole)
    assert b"".join(store.open("artifact", ONE)) == b"x" * PIECE_SIZE


def test_t087_a_transfer_that_goes_on_after_its_end_is_refused():
    keys = ChunkKeys(b"i" * 32, b"c" * 32)
    chunk_id = keys.chunk_id(b"s" * 32)
    stored = seal_chunk(keys.chunk_key(chunk_id), chunk_id, b"plain")
    stream = b"".join(write_chunk_stream([(chunk_id, stored)]))
    for beyond in (stream, b"more"):
        with pytest.raises(Refused) as refused:
            list(read_chunk_stream(io.BytesIO(stream + beyond)))
        assert refused.value.code == Code.BLOB_SIZE
    assert list(read_chunk_stream(io.BytesIO(stream))) == [(chunk_id, stored)]


def test_t088_pieces_of_one_file_that_changed_places_are_refused(store):
    store.write("artifact", ONE, io.BytesIO(os.urandom(3 * PIECE_SIZE + 5)))
    path = store.path_of("artifact", ONE)
    whole = path.read_bytes()
    start = head_size(whole, 4, 5) + STREAM_HEADER_SIZE
    first, second = whole[start : start + SEALED_PIECE], whole[start + SEALED_PIECE : start + 2 * SEALED_PIECE]
    path.write_bytes(whole[:start] + second + first + whole[start + 2 * SEALED_PIECE :])
    with pytest.raises(FileDamaged):
        list(store.open("artifact", ONE))


def test_t088_a_piece_of_another_file_or_of_the_same_file_written_again_is_refused(store):
    content = os.urandom(2 * PIECE_SIZE + 5)
    path = store.path_of("artifact", ONE)
    store.write("artifact", TWO, io.BytesIO(content))
    store.write("artifact", ONE, io.BytesIO(content))
    before = path.read_bytes()
    store.write("artifact", ONE, io.BytesIO(content))
    whole = path.read_bytes()
    start = head_size(whole, 3, 5) + STREAM_HEADER_SIZE
    for foreign in (store.path_of("artifact", TWO).read_bytes(), before):
        piece = foreign[start + SEALED_PIECE : start + 2 * SEALED_PIECE]
        path.write_bytes(whole[: start + SEALED_PIECE] + piece + whole[start + 2 * SEALED_PIECE :])
        with pytest.raises(FileDamaged):
            list(store.open("artifact", ONE))


def test_t088_a_chunk_in_the_place_of_another_is_refused():
    keys = ChunkKeys(b"i" * 32, b"c" * 32)
    digests = [os.urandom(32), os.urandom(32)]
    ids = [keys.chunk_id(digest) for digest in digests]
    stored = [seal_chunk(keys.chunk_key(chunk_id), chunk_id, b"same length") for chunk_id in ids]
    for mine, other in ((0, 1), (1, 0)):
        with pytest.raises(Refused) as refused:
            open_chunk(keys.chunk_key(ids[mine]), ids[mine], stored[other], 11, digests[mine])
        assert refused.value.code == Code.BLOB_HASH

"""Chunks, manifests, capabilities and the chunk stream: what was altered, cut or mixed up is refused by its code."""

import hashlib
import io
from dataclasses import replace

import pytest
import zstandard

from wire.chunks import MAX_CHUNK_BYTES
from wire.chunks_sealed import (
    MAX_STORED_BYTES,
    Capability,
    ChunkKeys,
    Manifest,
    ManifestChunk,
    _seal,
    check_capability,
    decode_manifest,
    encode_manifest,
    make_capability,
    open_chunk,
    open_manifest,
    read_chunk_stream,
    seal_chunk,
    seal_manifest,
    write_chunk_stream,
)
from wire.errors import Code, Refused

KEYS = ChunkKeys(b"i" * 32, b"c" * 32)
PLAIN = b"some words, some words, some words\n" * 100
KEY, MANIFEST_ID = b"m" * 32, "ab" * 16
MAC_KEY = b"k" * 32
CAPABILITY = Capability("5" * 32, (MANIFEST_ID,), expires=1_000)


def described(plain):
    sha256 = hashlib.sha256(plain).digest()
    chunk_id = KEYS.chunk_id(sha256)
    return ManifestChunk(chunk_id, KEYS.chunk_key(chunk_id), sha256, len(plain))


def opened(stored, chunk, **changed):
    chunk = replace(chunk, **changed)
    return open_chunk(chunk.key, chunk.id, stored, chunk.length, chunk.sha256)


def refused(act, *args, **kwargs):
    with pytest.raises(Refused) as caught:
        act(*args, **kwargs)
    return caught.value.code


@pytest.fixture
def chunk():
    return described(PLAIN)


@pytest.fixture
def stored(chunk):
    return seal_chunk(chunk.key, chunk.id, PLAIN)


@pytest.fixture
def manifest():
    parts = [PLAIN, b"b" * 70, PLAIN]
    whole = b"".join(parts)
    return Manifest(
        "storefront",
        "1.4.2",
        "tar",
        len(whole),
        hashlib.sha256(whole).digest(),
        tuple(described(part) for part in parts),
    )


@pytest.mark.parametrize("plain", [b"x", PLAIN, bytes(MAX_CHUNK_BYTES), hashlib.sha256(b"").digest() * 2048])
def test_a_chunk_opens_to_what_it_was(plain):
    chunk = described(plain)
    stored = seal_chunk(chunk.key, chunk.id, plain)
    assert opened(stored, chunk) == plain
    assert len(stored) <= min(len(plain) + 64, MAX_STORED_BYTES)


def test_the_same_chunk_is_stored_as_the_same_bytes_and_names_nothing_of_its_content(chunk, stored):
    assert seal_chunk(chunk.key, chunk.id, PLAIN) == stored
    assert chunk.sha256 not in stored + chunk.id
    other = ChunkKeys(b"o" * 32, b"c" * 32)
    assert other.chunk_id(chunk.sha256) != chunk.id
    assert other.chunk_key(chunk.id) == chunk.key


def test_the_vectors_of_id_key_and_stored_bytes_hold():
    chunk = described(b"one small chunk")
    assert chunk.id.hex() == "a2ae276f5ae1889ca4d9d25e1870ad86343ede299663106ba6a78e028d42dc83"
    assert chunk.key.hex() == "6afc3969e83fc632fdec6a7459a71331a8518b151353b46a0b86f5dbc609340c"
    assert (
        opened(
            bytes.fromhex(
                "0038aa814d5723167189ebb3aab2ce84b2bc3da6af161d26110399ee4dfe5bf22e44b9d761ac80d223232883d533f988fc5c634e738fedc82550119ade5d8bee"
            ),
            chunk,
        )
        == b"one small chunk"
    )


def test_two_packings_of_one_chunk_never_share_a_nonce(chunk):
    packed = [zstandard.ZstdCompressor(level=level).compress(PLAIN) for level in (1, 19)]
    assert packed[0] != packed[1]
    sealed = [_seal(chunk.key, chunk.id, content) for content in packed]
    assert sealed[0][:24] != sealed[1][:24]
    assert [opened(content, chunk) for content in sealed] == [PLAIN, PLAIN]


def test_every_flipped_bit_of_a_chunk_is_refused(chunk, stored):
    for bit in range(len(stored) * 8):
        flipped = bytearray(stored)
        flipped[bit // 8] ^= 1 << bit % 8
        assert refused(opened, bytes(flipped), chunk) == Code.BLOB_HASH


def test_every_cut_of_a_chunk_is_refused(chunk, stored):
    codes = {refused(opened, stored[:length], chunk) for length in range(len(stored))}
    assert codes == {Code.BLOB_TRUNC, Code.BLOB_HASH}
    assert refused(opened, stored + b"\0", chunk) == Code.BLOB_HASH


def test_a_chunk_in_the_place_of_another_is_refused(chunk, stored):
    other = described(b"other")
    assert refused(opened, stored, other) == Code.BLOB_HASH
    assert refused(opened, stored, chunk, id=other.id) == Code.BLOB_HASH
    assert refused(opened, stored, chunk, sha256=other.sha256) == Code.BLOB_HASH


@pytest.mark.parametrize("length", [0, len(PLAIN) - 1, len(PLAIN) + 1, MAX_CHUNK_BYTES + 1])
def test_a_chunk_of_another_length_than_promised_is_refused(chunk, stored, length):
    assert refused(opened, stored, chunk, length=length) == Code.BLOB_SIZE


def test_a_bomb_sealed_under_the_right_key_makes_no_room_for_itself(chunk):
    bomb = _seal(chunk.key, chunk.id, zstandard.ZstdCompressor().compress(bytes(200 * 1024 * 1024)))
    assert refused(opened, bomb, chunk) == Code.BLOB_SIZE
    unsaid = zstandard.ZstdCompressor(write_content_size=False).compress(PLAIN)
    assert refused(opened, _seal(chunk.key, chunk.id, unsaid), chunk) == Code.BLOB_SIZE
    assert refused(opened, _seal(chunk.key, chunk.id, b"no frame"), chunk) == Code.BLOB_HASH
    assert refused(opened, bytes(MAX_STORED_BYTES + 1), chunk) == Code.BLOB_SIZE


def test_a_manifest_opens_to_what_it_was_at_a_hundred_bytes_a_chunk(manifest):
    stored = seal_manifest(KEY, MANIFEST_ID, manifest)
    assert open_manifest(KEY, MANIFEST_ID, stored, hashlib.sha256(stored).hexdigest()) == manifest
    assert len(stored) < 300 + 100 * len(manifest.chunks)
    assert manifest.package.encode() not in stored


def test_a_manifest_of_other_bytes_key_or_place_is_refused(manifest):
    stored = seal_manifest(KEY, MANIFEST_ID, manifest)
    right = hashlib.sha256(stored).hexdigest()
    assert refused(open_manifest, KEY, MANIFEST_ID, stored, "0" * 64) == Code.BLOB_HASH
    assert refused(open_manifest, KEY, MANIFEST_ID, stored + b"x", right) == Code.BLOB_HASH
    assert refused(open_manifest, b"o" * 32, MANIFEST_ID, stored, right) == Code.BLOB_HASH
    assert refused(open_manifest, KEY, "cd" * 16, stored, right) == Code.BLOB_HASH
    assert refused(open_manifest, KEY, MANIFEST_ID, b"", hashlib.sha256(b"").hexdigest()) == Code.BLOB_TRUNC


def test_an_authentic_manifest_that_contradicts_itself_is_refused(manifest):
    encoded = encode_manifest(manifest)
    assert decode_manifest(encoded) == manifest
    assert refused(decode_manifest, encoded[:-1]) == Code.BLOB_TRUNC
    assert refused(decode_manifest, encoded + bytes(132)) == Code.BLOB_SIZE
    assert refused(decode_manifest, b"MAM2" + encoded[4:]) == Code.ENV_SCHEMA
    assert refused(decode_manifest, encode_manifest(replace(manifest, size=manifest.size + 1))) == Code.BLOB_SIZE
    for index, length in ((0, 0), (1, MAX_CHUNK_BYTES + 1)):
        chunks = list(manifest.chunks)
        chunks[index] = replace(chunks[index], length=length)
        assert refused(decode_manifest, encode_manifest(replace(manifest, chunks=tuple(chunks)))) == Code.BLOB_SIZE


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        (b'"tar"', b"12", "extension"),
        (b'"chunks":3', b'"chunks":"3"', "chunks"),
        (b'"chunks":3', b'"chunks":-3', "chunks"),
        (b'"sha256":"', b'"sha256":"A', "sha256"),
        (b'"version"', b'"versions"', "manifest"),
    ],
)
def test_a_wrong_field_in_a_manifest_is_named(manifest, old, new, field):
    encoded = encode_manifest(manifest)
    size = int.from_bytes(encoded[4:6], "big")
    head = encoded[6 : 6 + size].replace(old, new)
    with pytest.raises(Refused) as caught:
        decode_manifest(b"MAM1" + len(head).to_bytes(2, "big") + head + encoded[6 + size :])
    assert (caught.value.code, caught.value.field) == (Code.ENV_SCHEMA, field)


def test_a_chunk_stream_gives_back_what_was_written_even_from_a_slow_socket(chunk, stored):
    class Dripping(io.BytesIO):
        def read(self, size=-1, /):
            return super().read(min(size, 5))

    written = b"".join(write_chunk_stream([(chunk.id, stored), (b"2" * 32, b"x")]))
    assert list(read_chunk_stream(Dripping(written))) == [(chunk.id, stored), (b"2" * 32, b"x")]
    assert list(read_chunk_stream(io.BytesIO(b"".join(write_chunk_stream([]))))) == []


def test_a_chunk_stream_cut_anywhere_even_between_chunks_is_refused(chunk):
    written = b"".join(write_chunk_stream([(chunk.id, b"abc"), (b"2" * 32, b"x")]))
    for length in range(len(written)):
        assert refused(lambda cut: list(read_chunk_stream(io.BytesIO(cut))), written[:length]) == Code.BLOB_TRUNC


@pytest.mark.parametrize("head", [b"i" * 32 + b"\xff\xff\xff\xff", b"i" * 32 + bytes(4), bytes(36) + b"more"])
def test_a_chunk_stream_of_impossible_sizes_is_refused(head):
    assert refused(lambda: list(read_chunk_stream(io.BytesIO(head + bytes(100))))) == Code.BLOB_SIZE


def test_a_capability_is_good_until_it_expires_and_only_as_it_was_made():
    text = make_capability(MAC_KEY, CAPABILITY)
    assert check_capability(MAC_KEY, text, 999) == CAPABILITY
    assert refused(check_capability, MAC_KEY, text, 1_000) == Code.ENV_EXPIRED
    assert refused(check_capability, b"o" * 32, text, 999) == Code.ENV_SIG
    for at in range(len(text)):
        other = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
        assert refused(check_capability, MAC_KEY, other, 999) == Code.ENV_SIG


@pytest.mark.parametrize(
    "text", ["", "mac1", "mac1..", "mac2.e30.AA", "mac1.é.AA", "mac1.e30=.AA", "x" * 20_000, "mac1.e\n30.AA"]
)
def test_what_is_no_capability_is_refused(text):
    assert refused(check_capability, MAC_KEY, text, 0) == Code.ENV_SIG

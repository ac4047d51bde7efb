"""An artifact arrives whole, at the hub alone, as the one it was, or not at all."""

import io

import pytest

from wire.chunks_artifact import open_artifact, seal_artifact
from wire.errors import Code, Refused
from wire.keys import BoxKey

HUB, OTHER = BoxKey.generate(), BoxKey.generate()
ARTIFACT = "a7" * 16
PIECE = 64 * 1024


def sealed(content):
    return list(seal_artifact(io.BytesIO(content), HUB.public, ARTIFACT))


def opened(stored, boxes=(OTHER, HUB), context=ARTIFACT):
    return b"".join(open_artifact(io.BytesIO(stored), boxes, context))


def code_of(stored, **how):
    with pytest.raises(Refused) as caught:
        opened(stored, **how)
    return caught.value.code


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])
def test_an_artifact_opens_to_what_it_was(size):
    content = bytes(range(256)) * (size // 256 + 1)
    pieces = sealed(content[:size])
    assert opened(b"".join(pieces)) == content[:size]
    assert len(pieces) == 1 + max(1, -(-size // PIECE))


def test_only_its_reader_and_only_as_this_artifact():
    stored = b"".join(sealed(b"report"))
    assert code_of(stored, boxes=(OTHER,)) == Code.ENV_SEAL
    assert code_of(stored, context="b8" * 16) == Code.BLOB_HASH


def test_an_artifact_cut_even_between_pieces_does_not_exist():
    pieces = sealed(bytes(3 * PIECE))
    for count in range(1, len(pieces)):
        assert code_of(b"".join(pieces[:count])) == Code.BLOB_TRUNC
    whole = b"".join(pieces)
    assert {code_of(whole[:length]) for length in (0, 3, 100, len(whole) - 1)} == {Code.BLOB_TRUNC, Code.BLOB_HASH}


def test_pieces_altered_swapped_repeated_or_after_the_end_are_refused():
    head, *pieces = sealed(bytes(3 * PIECE))
    assert code_of(b"".join([head, pieces[1], pieces[0], pieces[2]])) == Code.BLOB_HASH
    assert code_of(b"".join([head, pieces[0], pieces[0], *pieces[1:]])) == Code.BLOB_HASH
    assert code_of(b"".join([head, *pieces[1:]])) == Code.BLOB_HASH
    assert code_of(b"".join([head, *pieces, b"x"])) in {Code.BLOB_SIZE, Code.BLOB_HASH}
    assert code_of(b"".join([*sealed(b"short"), b"x" * PIECE])) in {Code.BLOB_SIZE, Code.BLOB_HASH}
    assert code_of(b"MAA2" + head[4:] + b"".join(pieces)) == Code.BLOB_HASH
    short = b"".join(sealed(b"a"))
    for bit in range(84 * 8, len(short) * 8):
        flipped = bytearray(short)
        flipped[bit // 8] ^= 1 << bit % 8
        assert code_of(bytes(flipped)) == Code.BLOB_HASH

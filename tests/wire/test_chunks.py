"""Cut points: a published rule with vectors, and what it is for: a small change costs few chunks."""

import hashlib
import io
import random

import pytest

from wire.chunks import AVERAGE, split


def noise(size, seed=0):
    return random.Random(seed).randbytes(size)


def records(count, seed=0):
    """JSON lines: regular in shape, as exports and logs are."""
    numbers = random.Random(seed)
    return b"".join(
        b'{"id": %d, "name": "item-%d", "value": %d, "ok": true}\n' % (row, row * 7, numbers.randrange(10**6))
        for row in range(count)
    )


def lengths(content, average=AVERAGE):
    return [len(chunk) for chunk in split(io.BytesIO(content), average)]


def new_bytes(old, new):
    known = set(split(io.BytesIO(old)))
    return sum(len(chunk) for chunk in split(io.BytesIO(new)) if chunk not in known)


def counting(size):
    """Bytes that any language makes easily: SHA-256 of 0, 1, 2 … as u32 big-endian, joined."""
    blocks = (hashlib.sha256(number.to_bytes(4, "big")).digest() for number in range(size // 32 + 1))
    return b"".join(blocks)[:size]


@pytest.mark.parametrize(
    ("content", "average", "vector"),
    [
        (b"", AVERAGE, []),
        (b"a", AVERAGE, [1]),
        (bytes(200_000), AVERAGE, [65536, 65536, 65536, 3392]),
        (counting(100_000), AVERAGE, [10401, 23076, 9911, 8833, 29952, 11294, 6533]),
        (counting(30_000), 4096, [2593, 4871, 2937, 3620, 2123, 4355, 2960, 2300, 2219, 2022]),
    ],
)
def test_the_published_vectors_hold(content, average, vector):
    assert lengths(content, average) == vector


@pytest.mark.parametrize(
    "content", [noise(3_000_000), records(40_000), b"one and the same line\n" * 100_000, b"x" * 99]
)
def test_chunks_make_the_whole_again_within_their_bounds(content):
    chunks = list(split(io.BytesIO(content)))
    assert b"".join(chunks) == content
    assert all(AVERAGE // 2 <= len(chunk) <= AVERAGE * 4 for chunk in chunks[:-1])
    assert 0 < len(chunks[-1]) <= AVERAGE * 4


@pytest.mark.parametrize("content", [noise(4_000_000), records(60_000)], ids=["noise", "records"])
def test_the_mean_is_near_the_average_for_noise_and_for_records(content):
    found = lengths(content)
    assert 0.7 * AVERAGE < sum(found) / len(found) < 1.4 * AVERAGE


def test_how_the_stream_is_read_changes_no_cut():
    content = noise(2_500_000, 3)

    class Dripping(io.BytesIO):
        def read(self, size=-1, /):
            return super().read(min(size, 7_919))

    assert [len(chunk) for chunk in split(Dripping(content))] == lengths(content)


@pytest.mark.parametrize("content", [noise(4_000_000, 1), records(60_000, 1)], ids=["noise", "records"])
@pytest.mark.parametrize("at", [0, 1_234_567, 3_000_000])
def test_an_insert_costs_little_more_than_itself(content, at):
    changed = content[:at] + noise(1_000, 9) + content[at:]
    assert new_bytes(content, changed) < 1_000 + 8 * AVERAGE


def test_sixty_four_inserts_cost_a_part_and_not_the_whole():
    content = noise(10_000_000, 2)
    places = sorted(random.Random(4).sample(range(len(content)), 64))
    parts = [content[a:b] + noise(100, b) for a, b in zip([0, *places], [*places, len(content)], strict=True)]
    assert new_bytes(content, b"".join(parts)) < 64 * 3 * AVERAGE


@pytest.mark.parametrize("average", [0, 1000, 2048, 128 * 1024])
def test_an_average_that_is_no_such_power_of_two_is_refused(average):
    with pytest.raises(ValueError, match="power of two"):
        list(split(io.BytesIO(b"x"), average))

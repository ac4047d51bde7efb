"""Random bytes that are fetched many at once are each given once."""

from hub.orchestrator.drawn import Drawn


def test_no_bytes_are_given_twice():
    draw = Drawn()
    given = [draw(size) for _ in range(500) for size in (16, 24, 32)]
    assert [len(part) for part in given[:3]] == [16, 24, 32]
    assert len({part[:16] for part in given}) == len(given)


def test_more_than_a_fetch_is_fetched_for_itself():
    draw = Drawn()
    assert len(draw(10_000)) == 10_000
    assert len(draw(4096)) == 4096

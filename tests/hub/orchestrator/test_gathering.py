"""When the inbox waits a moment for more, and when it does not."""

from hub.orchestrator.gathering import Stream


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_a_message_that_comes_alone_is_not_held_up():
    clock = Clock()
    stream = Stream(clock)
    for _ in range(50):
        clock.now += 0.03
        assert stream.wait_s(1) == 0.0


def test_where_many_come_the_next_ones_are_waited_for():
    clock = Clock()
    stream = Stream(clock)
    waits = []
    for _ in range(30):
        clock.now += 0.002
        waits.append(stream.wait_s(1))
    assert waits[0] == 0.0
    assert all(wait > 0 for wait in waits[10:])


def test_a_stream_that_has_ended_is_forgotten():
    clock = Clock()
    stream = Stream(clock)
    assert stream.wait_s(200) > 0
    clock.now += 1.0
    assert stream.wait_s(1) == 0.0

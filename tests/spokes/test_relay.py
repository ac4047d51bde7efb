"""A listening spoke behind its relay is a spoke like any other: real broker, real TLS, real runs."""

import pytest

from tests.fakes.relay_world import relay_world
from wire.messages import EndState


@pytest.fixture
def world(broker, tmp_path):
    with relay_world(broker, tmp_path) as world:
        yield world


def test_a_job_goes_to_a_listening_spoke_and_its_log_and_result_come_back(world):
    spoke = world.add_spoke()
    with world.listening(spoke), world.relay():
        sent = world.run(spoke.spoke_id, "echo hello from behind the relay")
        assert world.end.result(sent.cid).state is EndState.SUCCEEDED
        assert b"hello from behind the relay" in world.end.whole_log(sent.cid)
        assert [hint["state"] for hint in world.hints(spoke.spoke_id)][-1:] == ["up"]

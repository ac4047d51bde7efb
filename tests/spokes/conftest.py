"""The spoke under test, with a hub's end, a gateway and a broker in memory around it."""

import pytest

from tests.fakes.parties import FakeHub
from tests.fakes.spoke_gateway import FakeGateway
from tests.fakes.spoke_world import spoke_world


@pytest.fixture
def world(tmp_path):
    with spoke_world(tmp_path) as world:
        yield world


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


@pytest.fixture
def gateway(hub):
    with FakeGateway(hub) as gateway:
        yield gateway.pinned()

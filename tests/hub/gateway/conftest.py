"""The gateway of an installed hub, asked by Flask's test client."""

from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from tests.fakes.enrolling import EnrollingHub
from tests.fakes.feed import Feed
from tests.fakes.gateway import gateway_of
from tests.fakes.installed_hub import InstalledHub, installed_hub


@pytest.fixture
def hub(tmp_path) -> Iterator[InstalledHub]:
    with installed_hub(tmp_path) as installed:
        yield installed


@pytest.fixture
def enrolling(hub) -> EnrollingHub:
    return EnrollingHub(hub)


@pytest.fixture
def feed(hub) -> Feed:
    return Feed(hub)


@pytest.fixture
def client(hub) -> FlaskClient:
    return gateway_of(hub).test_client()

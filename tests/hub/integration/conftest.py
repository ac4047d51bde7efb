"""One hub and one broker for the tests of a module, which make projects and programs of their own."""

from collections.abc import Iterator

import pytest

from tests.fakes.integration_world import IntegrationWorld, integration_world
from tests.services.rabbitmq import Broker


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def world_on_each(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, broker_node: Broker
) -> Iterator[IntegrationWorld]:
    database = request.getfixturevalue("module_postgres_url") if request.param == "postgres" else ""
    with integration_world(tmp_path_factory.mktemp("world"), broker_node, database=database) as made:
        yield made


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, broker_node: Broker) -> Iterator[IntegrationWorld]:
    with integration_world(tmp_path_factory.mktemp("world"), broker_node) as made:
        yield made

"""One hub a module: its tests make things under names of their own."""

from collections.abc import Iterator

import pytest

from tests.fakes.api_hub import ApiHub, running_api


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiHub]:
    with running_api(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def api_on_each(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiHub]:
    """The same on either database."""
    database = request.getfixturevalue("module_postgres_url") if request.param == "postgres" else ""
    with running_api(tmp_path_factory.mktemp("hub"), database=database) as running:
        yield running

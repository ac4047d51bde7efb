"""One hub a module: its tests make things under names of their own."""

from collections.abc import Iterator

import pytest

from tests.fakes.api_hub import ApiHub, running_api


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiHub]:
    with running_api(tmp_path_factory.mktemp("hub")) as running:
        yield running

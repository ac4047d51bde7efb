"""An installed hub with an empty feed."""

from collections.abc import Iterator

import pytest

from tests.fakes.feed import Feed
from tests.fakes.installed_hub import InstalledHub, installed_hub


@pytest.fixture
def hub(tmp_path) -> Iterator[InstalledHub]:
    with installed_hub(tmp_path) as installed:
        yield installed


@pytest.fixture
def feed(hub) -> Feed:
    return Feed(hub)

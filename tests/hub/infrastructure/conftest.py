"""An installed hub, machines that want in, and the engine's side of enrolment."""

from collections.abc import Iterator

import pytest

from tests.fakes.enrolling import EnrollingHub
from tests.fakes.installed_hub import InstalledHub, installed_hub


@pytest.fixture
def hub(tmp_path) -> Iterator[InstalledHub]:
    with installed_hub(tmp_path) as installed:
        yield installed


@pytest.fixture
def enrolling(hub) -> EnrollingHub:
    return EnrollingHub(hub)

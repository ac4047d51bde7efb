"""An installed hub whose engine acts at a time of the test's choosing."""

import time

import pytest

from tests.fakes.installed_hub import Acting, Person


@pytest.fixture
def acting(installed_hub):
    return Acting(installed_hub.vault, installed_hub.seals, time.time_ns() // 1_000_000, Person())

"""Chaos tests share one fleet: a target of each kind, and doors before broker and gateway in which networks go wrong."""

from collections.abc import Iterator

import pytest

from tests.chaos.fleet import Fleet, fleet
from tests.services.requires import requires


@pytest.fixture(scope="session")
def field() -> Iterator[Fleet]:
    """For all chaos tests of a session; each leaves it whole."""
    requires("rabbitmq")
    requires("sshd")
    with fleet(real=("polling", "listening", "ssh", "local"), light=0) as made:
        yield made


@pytest.fixture
def whole_field(field: Fleet) -> Iterator[Fleet]:
    """The same, healed afterwards whatever has become of the test."""
    yield field
    for door in (field.broker_door, field.gateway_door):
        door.heal()
    for process in field.processes().values():
        process.resume()
    field.start_what_is_down()
    field.until_whole()

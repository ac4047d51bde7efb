"""One portal a module, with a project that has something to show."""

from collections.abc import Iterator

import pytest

from tests.fakes.portal_hub import PortalHub, running_portal


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PortalHub]:
    with running_portal(tmp_path_factory.mktemp("hub")) as running:
        running.task = running.tell_story()
        yield running


@pytest.fixture(scope="module")
def ann(portal: PortalHub):
    return portal.signed_in("ann", "system-admin")

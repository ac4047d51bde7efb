"""An installed hub whose engine acts at a time of the test's choosing, and a root key that may be elsewhere."""

import time

import pytest

from hub.storage.database import write_tx
from hub.storage.vault_export import forget_exported, write_exported
from tests.fakes.installed_hub import Acting, Person
from tests.hub.conftest import CHEAP
from wire.roles import Role

PHRASE = "kelp wharf anvil motto"


@pytest.fixture
def acting(installed_hub):
    return Acting(installed_hub.vault, installed_hub.seals, time.time_ns() // 1_000_000, Person())


@pytest.fixture
def offline(installed_hub, tmp_path):
    """The root key is in this file, and no longer in the hub."""
    path = tmp_path / "root.key"
    write_exported(installed_hub.vault, Role.HUB_ROOT, PHRASE, path, CHEAP)
    with write_tx():
        forget_exported(installed_hub.seals, Role.HUB_ROOT, path, PHRASE)
    return path

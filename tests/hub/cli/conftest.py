"""An installed hub of which nothing runs, for the commands that work beside the database."""

import pytest

from tests.services.whole import Whole


@pytest.fixture
def hub(tmp_path):
    made = Whole(tmp_path)
    made.install()
    return made


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A folder where `manyarm init` was not typed yet."""
    return Whole(tmp_path_factory.mktemp("bare"))

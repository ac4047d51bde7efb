"""The numbered migrations make what the models say, and take it back."""

import subprocess
import sys

import pytest
from playhouse.schema_diff import diff_models

from hub.storage.database import MIGRATIONS, connection, migrate_down, migrate_up, open_database, pending_migrations
from hub.storage.models import ALL_TABLES


@pytest.fixture
def empty(empty_database_url):
    opened = open_database(empty_database_url)
    with connection():
        yield opened
    if hasattr(opened, "close_all"):
        opened.close_all()


def test_they_make_what_the_models_say(empty):
    applied = migrate_up(empty)
    assert applied == sorted(path.stem for path in MIGRATIONS.glob("[0-9]*.py"))
    assert str(diff_models(empty, list(ALL_TABLES))) in {"", "None"} or not diff_models(empty, list(ALL_TABLES))
    assert pending_migrations(empty) == []
    assert migrate_up(empty) == []


def test_each_can_be_taken_back_and_done_again(empty):
    applied = migrate_up(empty)
    for name in reversed(applied):
        assert migrate_down(empty) == [name]
    assert set(empty.get_tables()) == {"schema_migration"}
    assert migrate_up(empty) == applied


def test_a_migration_never_reads_todays_models():
    for path in MIGRATIONS.glob("[0-9]*.py"):
        assert "hub." not in path.read_text(), path.name


def test_hubs_that_start_together_migrate_once(empty_database_url):
    program = (
        "import sys; from hub.storage.database import *\n"
        "opened = open_database(sys.argv[1]); print(len(migrate_up(opened)))"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, empty_database_url], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(4)
    ]
    ended = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0] * 4, ended
    counts = sorted(int(out) for out, _ in ended)
    assert counts == [0, 0, 0, len(list(MIGRATIONS.glob("[0-9]*.py")))]

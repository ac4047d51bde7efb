"""Databases with all tables and no rows, as the migrations make them: made once a process, copied for each test.

The migrations themselves are tested on empty databases (tests/hub/storage/test_migrations.py).
"""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from hub.storage.database import connection, flush_wal, migrate_up, open_database, sqlite_path
from hub.storage.models.table import database_proxy


def lay_tables(url: str) -> None:
    """Put `sqlite:…` with all tables where there is none yet."""
    path = sqlite_path(url)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copyfile(_template(), path)
    path.chmod(0o600)


def migrate(url: str) -> None:
    """Make all tables; whatever the models were bound to, they are bound to again."""
    former = database_proxy.obj
    database = open_database(url)
    with connection():
        migrate_up(database)
        flush_wal(database)
    # Pooled connections would keep PostgreSQL from copying the database.
    if hasattr(database, "close_all"):
        database.close_all()
    database_proxy.initialize(former)


@functools.cache
def _template() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="manyarm-tables-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    migrate(str(folder / "tables.db"))
    return folder / "tables.db"

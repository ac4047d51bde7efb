"""Schema changes are compatible one release back: while a hub is brought up to date, engines of two releases share a database.

The rules, for every migration after `FORMER`, the newest one of the release before:

1. what the former release writes is written still: its INSERTs, without columns that it does not know
2. what it reads and changes is there still: no table or column that it names is dropped, renamed or narrowed
3. what it wrote, the present release reads

A column or table that nobody needs any more goes one release later, and its migration stands in `GONE` with the reason.
"""

import ast

import pytest

from hub.storage.database import MIGRATIONS, connection, is_postgres, migrate_up, open_database
from hub.storage.models import ALL_TABLES

FORMER = "0013_refused_frames"
GONE: dict[str, str] = {}
# What a migration itself reads.
_JSON = {("job", "log_gaps")}
_ENDS = {"drop_column", "rename_column", "rename_table", "drop_table", "add_not_null", "alter_column_type"}


@pytest.fixture
def former(empty_database_url):
    """The tables of the release before; foreign keys are another test's business."""
    database = open_database(empty_database_url)
    with connection():
        migrate_up(database, FORMER)
        database.execute_sql(
            "SET session_replication_role = replica" if is_postgres(database) else "PRAGMA foreign_keys = OFF"
        )
        yield database
    if hasattr(database, "close_all"):
        database.close_all()


def tables_of(database):
    """What the release before knows: the columns of each table."""
    return {table: database.get_columns(table) for table in database.get_tables() if table != "schema_migration"}


def write(database, table, columns, number):
    """A row as the release before writes it, with all the columns that it knows and no other."""
    names = ", ".join(f'"{column.name}"' for column in columns)
    holes = ", ".join("%s" if is_postgres(database) else "?" for _ in columns)
    values = [_value(column, number) for column in columns]
    database.execute_sql(f'INSERT INTO "{table}" ({names}) VALUES ({holes})', values)


def test_what_the_former_release_writes_and_reads_is_taken_and_there_after_every_migration(former):
    known = tables_of(former)
    assert len(known) > 50
    for table, columns in known.items():
        write(former, table, columns, 1)
    migrate_up(former)
    for table, columns in known.items():
        write(former, table, columns, 2)
        for column in columns:
            former.execute_sql(f'UPDATE "{table}" SET "{column.name}" = "{column.name}"')
        names = ", ".join(f'"{column.name}"' for column in columns)
        assert len(former.execute_sql(f'SELECT {names} FROM "{table}"').fetchall()) >= 2, table


def test_what_the_former_release_wrote_is_read_by_the_present_one(former):
    known = tables_of(former)
    for table, columns in known.items():
        write(former, table, columns, 1)
    migrate_up(former)
    for model in ALL_TABLES:
        if model.table_name() in known:
            columns = [field for field in model._meta.sorted_fields if not hasattr(field, "states")]
            assert model.select(*[field for field in columns if type(field).__name__ != "JsonField"]).count() >= 1


def test_nothing_that_the_former_release_names_is_taken_away_or_narrowed():
    for path in sorted(MIGRATIONS.glob("[0-9]*.py")):
        if path.stem <= FORMER or path.stem in GONE:
            continue
        up = next(node for node in ast.parse(path.read_text()).body if getattr(node, "name", "") == "up")
        called = {node.func.attr for node in ast.walk(up) if isinstance(node, ast.Call) and hasattr(node.func, "attr")}
        assert not called & _ENDS, f"{path.stem}: {called & _ENDS}: one release later, see this file's rules"


def _value(column, number):
    if (column.table, column.name) in _JSON:
        return "[]"
    kind = column.data_type.upper()
    if "INT" in kind:
        return number
    if "BOOL" in kind:
        return False
    if "BLOB" in kind or "BYTEA" in kind:
        return b"x%d" % number
    if "DOUBLE" in kind or "REAL" in kind or "FLOAT" in kind:
        return 0.5
    return f"{number}"

"""The queue: priorities, concurrency keys, parents, caps of projects, what is paused, the last turn of each line."""

from peewee import SQL, BigIntegerField, CharField, ForeignKeyField, IntegerField, Model, TextField


# Tables of earlier migrations, as far as they are pointed at.
class Project(Model):
    id = CharField(primary_key=True, max_length=32)

    class Meta:
        table_name = "project"


class Environment(Model):
    id = CharField(primary_key=True, max_length=32)

    class Meta:
        table_name = "environment"


class QueuePause(Model):
    id = CharField(primary_key=True, max_length=32)
    place = CharField(max_length=70, unique=True)
    project = ForeignKeyField(Project, null=True, on_delete="CASCADE")
    environment = ForeignKeyField(Environment, null=True, on_delete="CASCADE")
    reason = TextField()
    paused_by = CharField(max_length=32, null=True)
    created_at = BigIntegerField()

    class Meta:
        table_name = "queue_pause"


class QueueLine(Model):
    id = CharField(primary_key=True, max_length=40)
    project = ForeignKeyField(Project, null=True, on_delete="CASCADE")
    priority = IntegerField()
    turn_at = BigIntegerField()

    class Meta:
        table_name = "queue_line"


TABLES = (QueuePause, QueueLine)
# With defaults of the database's own: the release before this one may go on writing rows beside this one.
COLUMNS = (
    ("task", "priority", IntegerField(constraints=[SQL("DEFAULT 1")])),
    ("task", "concurrency_key", CharField(constraints=[SQL("DEFAULT ''")])),
    ("task", "parent", CharField(max_length=32, null=True)),
    ("project", "concurrency", CharField(constraints=[SQL("DEFAULT ''")])),
    ("project", "tasks_at_once", IntegerField(null=True)),
)


def up(migrator, db):
    migrator.migrate(*(migrator.add_column(*column, allow_not_null=True) for column in COLUMNS))
    # What is under way keeps others of its project out of its environment, as it did.
    db.execute_sql(
        "UPDATE task SET concurrency_key = '=' || project_id || '/' || environment_id "
        "WHERE kind = 'deployment' AND ended_at IS NULL"
    )
    with db.bind_ctx(TABLES, bind_refs=True, bind_backrefs=False):
        db.create_tables(TABLES, safe=False)


def down(migrator, db):
    with db.bind_ctx(TABLES, bind_refs=False, bind_backrefs=False):
        db.drop_tables(TABLES, safe=False)
    migrator.migrate(*(migrator.drop_column(table, name) for table, name, _ in reversed(COLUMNS)))

"""A job says until when its run may last and when the hub gives it up, and what its machine ended of it."""

from peewee import BigIntegerField, IntegerField, TextField


def up(migrator, db):
    migrator.migrate(
        migrator.add_column("job", "run_deadline_at", BigIntegerField(null=True)),
        migrator.add_column("job", "gives_up_at", BigIntegerField(null=True)),
        migrator.add_column("job", "ended_processes", IntegerField(null=True)),
        migrator.add_column("job", "survivors", TextField(null=True)),
    )


def down(migrator, db):
    migrator.migrate(
        migrator.drop_column("job", "survivors"),
        migrator.drop_column("job", "ended_processes"),
        migrator.drop_column("job", "gives_up_at"),
        migrator.drop_column("job", "run_deadline_at"),
    )

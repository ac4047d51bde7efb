"""A task says when its log, plan and files were taken back."""

from peewee import BigIntegerField


def up(migrator, db):
    migrator.migrate(migrator.add_column("task", "cleared_at", BigIntegerField(null=True)))


def down(migrator, db):
    migrator.migrate(migrator.drop_column("task", "cleared_at"))

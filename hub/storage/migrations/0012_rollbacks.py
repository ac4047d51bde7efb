"""A deployment says whether it was a way back to an earlier release."""

from peewee import BooleanField


def up(migrator, db):
    migrator.migrate(migrator.add_column("deployment", "rollback", BooleanField(default=False)))


def down(migrator, db):
    migrator.migrate(migrator.drop_column("deployment", "rollback"))

"""A frame remembers that its spoke refused it: a job of which every frame was refused never began."""

from peewee import BooleanField


def up(migrator, db):
    migrator.migrate(migrator.add_column("issued_frame", "refused", BooleanField(default=False)))


def down(migrator, db):
    migrator.migrate(migrator.drop_column("issued_frame", "refused"))

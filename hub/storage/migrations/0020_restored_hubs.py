"""A hub that was restored from a backup knows when that was, and since when it has forgotten what it did."""

from peewee import BigIntegerField


def up(migrator, db):
    migrator.migrate(
        migrator.add_column("installation", "restored_at", BigIntegerField(null=True)),
        migrator.add_column("installation", "forgot_since", BigIntegerField(null=True)),
    )


def down(migrator, db):
    migrator.migrate(
        migrator.drop_column("installation", "forgot_since"),
        migrator.drop_column("installation", "restored_at"),
    )

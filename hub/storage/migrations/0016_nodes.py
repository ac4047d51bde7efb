"""Nodes: the engines on one database, and the leases of what one of them does alone."""

from peewee import BigIntegerField, CharField, Model, TextField


class Node(Model):
    id = CharField(primary_key=True, max_length=32)
    name = CharField(max_length=200)
    mark = TextField()
    software = CharField(max_length=100)
    started_at = BigIntegerField()
    until = BigIntegerField(index=True)

    class Meta:
        table_name = "node"


class Lease(Model):
    name = CharField(primary_key=True, max_length=100)
    holder = CharField(max_length=100)
    until = BigIntegerField()

    class Meta:
        table_name = "lease"


TABLES = (Node, Lease)


def up(migrator, db):
    with db.bind_ctx(TABLES, bind_refs=False, bind_backrefs=False):
        db.create_tables(TABLES, safe=False)


def down(migrator, db):
    with db.bind_ctx(TABLES, bind_refs=False, bind_backrefs=False):
        db.drop_tables(TABLES, safe=False)

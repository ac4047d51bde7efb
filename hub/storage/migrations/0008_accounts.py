"""Accounts: how to get into machines and clouds. (A target's endpoint and kind have their columns since 0002.)"""

from peewee import BigIntegerField, CharField, IntegerField, Model, TextField


class Account(Model):
    id = CharField(primary_key=True, max_length=32)
    seal = TextField(null=True)
    name = CharField(max_length=100, unique=True)
    kind = CharField(max_length=24)
    fields = TextField()
    secrets_sealed = TextField()
    environments = TextField()
    description = TextField()
    created_at = BigIntegerField()
    version = IntegerField()

    class Meta:
        table_name = "account"


TABLES = (Account,)


def up(migrator, db):
    with db.bind_ctx(TABLES, bind_refs=False, bind_backrefs=False):
        db.create_tables(TABLES, safe=False)


def down(migrator, db):
    with db.bind_ctx(TABLES, bind_refs=False, bind_backrefs=False):
        db.drop_tables(TABLES, safe=False)

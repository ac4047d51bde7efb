"""Audit rows, checkpoints, intents."""

from peewee import BigIntegerField, BlobField, CharField, IntegerField, Model, TextField


class Event(Model):
    seq = BigIntegerField(primary_key=True)
    at = BigIntegerField(index=True)
    actor = CharField(max_length=200, index=True)
    actor_kid = CharField(max_length=32, null=True)
    action = CharField(max_length=80, index=True)
    object = CharField(max_length=200, index=True)
    outcome = CharField(max_length=40)
    project = CharField(max_length=32, null=True, index=True)
    environment = CharField(max_length=32, null=True)
    bytes = BlobField()
    hash = BlobField()

    class Meta:
        table_name = "event"


class ChainHead(Model):
    id = IntegerField(primary_key=True)
    seq = BigIntegerField()
    hash = BlobField()
    at = BigIntegerField()

    class Meta:
        table_name = "chain_head"


class Checkpoint(Model):
    seq = BigIntegerField(primary_key=True)
    text = TextField()
    at = BigIntegerField()

    class Meta:
        table_name = "checkpoint"


class IntentRow(Model):
    id = CharField(primary_key=True, max_length=32)
    operation = CharField(max_length=80)
    body_sealed = BlobField()
    actor = CharField(max_length=100)
    idempotency_key = CharField(max_length=100, null=True)
    request_sha256 = CharField(max_length=64, null=True)
    created_at = BigIntegerField()
    state = CharField(max_length=24, index=True)
    status = IntegerField(null=True)
    answer_sealed = BlobField(null=True)
    answered_at = BigIntegerField(null=True)

    class Meta:
        table_name = "intent"
        indexes = ((("actor", "operation", "idempotency_key"), True),)


TABLES = (Event, ChainHead, Checkpoint, IntentRow)


def up(migrator, db):
    with db.bind_ctx(TABLES, bind_refs=False, bind_backrefs=False):
        db.create_tables(TABLES, safe=False)


def down(migrator, db):
    with db.bind_ctx(TABLES, bind_refs=False, bind_backrefs=False):
        db.drop_tables(TABLES, safe=False)

"""What happened: hash-chained audit rows, which are the outbox of integration events too, and signed checkpoints."""

from peewee import BigIntegerField, CharField, IntegerField, TextField

from hub.storage.models.table import AtField, BytesField, IdField, Table, now_ms


class Event(Table):
    """`bytes` decides; the other columns repeat parts of it so that they can be asked for."""

    seq = BigIntegerField(primary_key=True)
    at = AtField(index=True)
    actor = CharField(max_length=200, index=True)
    actor_kid = IdField(null=True)
    action = CharField(max_length=80, index=True)
    object = CharField(max_length=200, index=True)
    outcome = CharField(max_length=40)
    project = IdField(null=True, index=True)
    environment = IdField(null=True)
    bytes = BytesField()
    hash = BytesField()


class ChainHead(Table):
    """One row, id 1: the newest event. Writers queue up at its lock, so the chain has one pen on either database."""

    id = IntegerField(primary_key=True)
    seq = BigIntegerField()
    hash = BytesField()
    at = AtField()


class Checkpoint(Table):
    seq = BigIntegerField(primary_key=True)
    text = TextField()
    at = AtField(default=now_ms)
